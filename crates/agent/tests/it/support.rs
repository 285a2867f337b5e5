use std::path::Path;
use std::time::Duration;

use connectrpc::ConnectError;
use hostler_agent::{Agent, AgentSettings, FilesPolicy, Policy};
use hostler_api::v1;
use hostler_link::LinkClient;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// An agent on its unix socket.
pub struct Running {
    agent: Agent,
    stop: CancellationToken,
    server: JoinHandle<()>,
    pub client: LinkClient,
}

pub fn files(roots: &[&Path]) -> Policy {
    Policy {
        files: FilesPolicy { roots: roots.iter().map(Into::into).collect(), ..Default::default() },
        ..Policy::default()
    }
}

impl Running {
    pub async fn start(data: &Path, policy: Policy) -> Self {
        let agent = Agent::open(AgentSettings { data: data.to_owned(), policy }).unwrap();
        let stop = CancellationToken::new();
        let server = agent.serve_socket(stop.clone()).await.unwrap();
        let client = connect(data).await;
        Self { agent, stop, server, client }
    }

    /// Ends it as a signal does.
    pub async fn stop(self) {
        self.stop.cancel();
        drop(self.client);
        self.server.await.unwrap();
        drop(self.agent);
    }

    pub async fn check_root(&self, path: &Path) -> Result<(), ConnectError> {
        let files = v1::FilesServiceClient::new(self.client.clone(), self.client.config());
        let path = path.as_os_str().as_encoded_bytes().to_vec();
        files.check_root(v1::CheckRootRequest { path, ..Default::default() }).await.map(drop)
    }

    /// Scans to the end and does not promote.
    pub async fn scan(&self, root: &Path) -> Result<(), ConnectError> {
        let files = v1::FilesServiceClient::new(self.client.clone(), self.client.config());
        let root = root.as_os_str().as_encoded_bytes().to_vec();
        let mut stream = files.scan(v1::ScanRequest { root, ..Default::default() }).await?;
        while stream.message().await?.is_some() {}
        Ok(())
    }

    /// What the journal holds once `enough` says so.
    pub async fn events(&self, enough: impl Fn(&[v1::HostEvent]) -> bool) -> Vec<v1::HostEvent> {
        let all = async {
            let mut follower = Follower::start(&self.client, Vec::new(), 0).await;
            let mut events = Vec::new();
            while !enough(&events) {
                events.extend(follower.next().await.unwrap().into_iter().map(|(_, event)| event));
            }
            events
        };
        tokio::time::timeout(Duration::from_secs(20), all).await.expect("the events did not come")
    }
}

pub async fn connect(data: &Path) -> LinkClient {
    let stream = UnixStream::connect(Agent::socket_path(data)).await.unwrap();
    LinkClient::connect(stream).await.unwrap().0
}

pub fn kinds(events: &[v1::HostEvent]) -> Vec<&str> {
    events.iter().map(|e| e.kind.as_str()).collect()
}

/// The gateway's end of Follow.
pub struct Follower {
    stream: connectrpc::ServerStream<hostler_link::LinkBody, v1::FollowResponseView<'static>>,
    /// Of the last answer.
    pub journal_id: Vec<u8>,
    pub after: u64,
}

impl Follower {
    pub async fn start(client: &LinkClient, journal_id: Vec<u8>, after: u64) -> Self {
        let service = v1::JournalServiceClient::new(client.clone(), client.config());
        let request = v1::FollowRequest { journal_id: journal_id.clone(), after, ..Default::default() };
        Self { stream: service.follow(request).await.unwrap(), journal_id, after }
    }

    /// The next event; the first answer may come without any.
    pub async fn first(&mut self) -> (u64, v1::HostEvent) {
        loop {
            if let Some(first) = self.next().await.unwrap().into_iter().next() {
                return first;
            }
        }
    }

    /// Whether the host ended the stream by itself and without an error.
    pub async fn is_ended(&mut self) -> bool {
        matches!(self.stream.message().await, Ok(None)) && self.stream.error().is_none()
    }

    /// The events of the next answer; `None` when the link is gone.
    pub async fn next(&mut self) -> Option<Vec<(u64, v1::HostEvent)>> {
        let message = self.stream.message().await.ok()??.to_owned_message();
        if self.journal_id == message.journal_id {
            assert_eq!(message.after, self.after);
        }
        self.journal_id = message.journal_id;
        self.after = message.next_seq - 1;
        let decode = |r: v1::Record| (r.seq, hostler_api::decode_event(&r.event).unwrap());
        Some(message.records.into_iter().map(decode).collect())
    }
}
