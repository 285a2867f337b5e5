//! The one place that decides whether an RPC is answered: each has a row with the grant it needs, and what has no row is
//! refused. Paths are compared with the granted directories by the capability itself, once they are resolved.

use std::sync::Arc;

use connectrpc::interceptor::{
    Next, NextStream, PayloadStream, StreamRequest, StreamResponse, UnaryRequest, UnaryResponse,
};
use connectrpc::{ConnectError, ConnectRpcService, ErrorCode, Interceptor, Limits, RequestContext, async_trait};

use crate::journal::EventLog;
use crate::policy::Policy;

/// The largest request, and the largest message in it after decompression: a list of excludes is 100 KiB at most.
const MAX_REQUEST: usize = 256 << 10;
/// What the parts of one request may take in memory beside their contents: very many empty strings are small on the wire.
const MAX_ELEMENTS: usize = 1 << 20;

/// What an RPC needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grant {
    /// Nothing: what every agent tells the gateway it serves.
    Always,
    /// A granted directory.
    Files,
}

/// Every RPC.
const GRANTS: [(&str, Grant); 8] = [
    ("/hostler.v1.HostService/Describe", Grant::Always),
    ("/hostler.v1.HostService/Probe", Grant::Always),
    ("/hostler.v1.JournalService/Follow", Grant::Always),
    ("/hostler.v1.JournalService/Acknowledge", Grant::Always),
    ("/hostler.v1.FilesService/Scan", Grant::Files),
    ("/hostler.v1.FilesService/Promote", Grant::Files),
    ("/hostler.v1.FilesService/CheckRoot", Grant::Files),
    ("/hostler.v1.FilesService/SetPaused", Grant::Files),
];

impl Grant {
    /// Why the owner's policy refuses it.
    fn check(self, policy: &Policy) -> Result<(), &'static str> {
        match self {
            Self::Always => Ok(()),
            Self::Files if policy.files.roots.is_empty() => Err(
                "this host grants no directory; its owner sets files.roots in agent.toml, such as roots = [\"/srv\"]",
            ),
            Self::Files => Ok(()),
        }
    }
}

/// The agent's services behind the owner's policy, with bounded requests.
pub fn guard(services: connectrpc::Router, policy: &Policy, events: EventLog) -> ConnectRpcService {
    let limits = Limits::default()
        .with_max_request_body_size(MAX_REQUEST)
        .with_max_message_size(MAX_REQUEST)
        .with_element_memory_limit(MAX_ELEMENTS);
    let verdicts = GRANTS.iter().map(|(path, grant)| (*path, grant.check(policy))).collect();
    ConnectRpcService::new(services).with_limits(limits).with_interceptor_arc(Arc::new(Guard { verdicts, events }))
}

struct Guard {
    /// Each RPC, and why it is refused.
    verdicts: Vec<(&'static str, Result<(), &'static str>)>,
    events: EventLog,
}

impl Guard {
    /// The row's path, so that what is recorded is never what a caller made up.
    fn check(&self, ctx: &RequestContext) -> Result<&'static str, ConnectError> {
        let path = ctx.path().unwrap_or_default();
        let row = self.verdicts.iter().find(|(known, _)| *known == path);
        match row {
            Some((known, Ok(()))) => Ok(known),
            Some((known, Err(reason))) => {
                let error = ConnectError::permission_denied(*reason);
                self.record(known, &error);
                Err(error)
            }
            None => {
                let error = ConnectError::permission_denied("this agent's policy does not know that call");
                self.record("unknown", &error);
                Err(error)
            }
        }
    }

    /// Keeps a refusal, this layer's or a capability's.
    fn record(&self, rpc: &'static str, error: &ConnectError) {
        if error.code == ErrorCode::PermissionDenied {
            self.events.refused(rpc, error.message.as_deref().unwrap_or_default());
        }
    }
}

#[async_trait]
impl Interceptor for Guard {
    async fn intercept_unary(&self, req: UnaryRequest, next: Next<'_>) -> Result<UnaryResponse, ConnectError> {
        let rpc = self.check(&req.ctx)?;
        next.run(req).await.inspect_err(|error| self.record(rpc, error))
    }

    async fn intercept_streaming(
        &self,
        req: StreamRequest,
        inbound: PayloadStream,
        next: NextStream<'_>,
    ) -> Result<StreamResponse, ConnectError> {
        let rpc = self.check(&req.ctx)?;
        next.run(req, inbound).await.inspect_err(|error| self.record(rpc, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rpc_has_a_row_and_every_row_an_rpc() {
        let mut rows: Vec<&str> = GRANTS.iter().map(|(path, _)| *path).collect();
        rows.sort_unstable();
        assert_eq!(rows, hostler_api::METHODS);
    }

    #[test]
    fn without_a_grant_only_what_every_agent_answers() {
        let always = |policy: &Policy| GRANTS.iter().filter(|(_, g)| g.check(policy).is_ok()).count();
        assert_eq!(always(&Policy::default()), 4);
        assert_eq!(always(&Policy::of_up(vec!["/srv".into()])), GRANTS.len());
        assert!(Grant::Files.check(&Policy::default()).unwrap_err().contains("files.roots in agent.toml"));
    }
}
