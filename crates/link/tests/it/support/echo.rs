//! The test service: `bytes -> bytes` in all four call kinds. The first message says what to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;

use buffa_types::google::protobuf::{BytesValue, BytesValueView};
use connectrpc::client::{
    BidiStream, CallOptions, ClientConfig, ServerStream, call_bidi_stream, call_client_stream, call_server_stream,
    call_unary,
};
use connectrpc::{
    ConnectError, RequestContext, Response, ServiceResult, ServiceStream, Spec, StreamType, bidi_streaming_handler_fn,
    client_streaming_handler_fn, handler_fn, streaming_handler_fn,
};
use futures_util::{Stream, StreamExt as _, stream};
use hostler_link::{LinkBody, LinkClient, Peer};

const UNARY: Spec = Spec::client("/test.Echo/Unary", StreamType::Unary);
const DOWN: Spec = Spec::client("/test.Echo/Down", StreamType::ServerStream);
const UP: Spec = Spec::client("/test.Echo/Up", StreamType::ClientStream);
const BOTH: Spec = Spec::client("/test.Echo/Both", StreamType::BidiStream);

/// How many handlers run. A handler that is dropped is counted out.
#[derive(Clone, Default)]
pub struct Live(Arc<AtomicUsize>);

struct Guard(Live);

impl Live {
    fn enter(&self) -> Guard {
        self.0.fetch_add(1, Ordering::SeqCst);
        Guard(self.clone())
    }

    /// Waits until exactly `n` handlers run.
    pub async fn reach(&self, n: usize) {
        super::soon(&format!("reaching {n} handlers"), async {
            while self.0.load(Ordering::SeqCst) != n {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub fn bytes(value: impl AsRef<[u8]>) -> BytesValue {
    BytesValue::from(value.as_ref())
}

/// The service as an agent would serve it.
pub fn routes(live: Live) -> Router {
    let (l1, l2, l3, l4) = (live.clone(), live.clone(), live.clone(), live);
    connectrpc::Router::new()
        .route("test.Echo", "Unary", handler_fn(move |ctx, request: BytesValue| unary(l1.clone(), ctx, request)))
        .route_server_stream(
            "test.Echo",
            "Down",
            streaming_handler_fn(move |_ctx, request: BytesValue| down(l2.clone(), request)),
        )
        .route_client_stream(
            "test.Echo",
            "Up",
            client_streaming_handler_fn(move |_ctx, requests| up(l3.clone(), requests)),
        )
        .route_bidi_stream(
            "test.Echo",
            "Both",
            bidi_streaming_handler_fn(move |_ctx, requests| both(l4.clone(), requests)),
        )
        .into_axum_router()
}

/// `hang`, `slow` (half a second), `peer` (who calls), or anything to be echoed.
async fn unary(live: Live, ctx: RequestContext, request: BytesValue) -> ServiceResult<BytesValue> {
    let _guard = live.enter();
    match &request.value[..] {
        b"hang" => std::future::pending().await,
        b"slow" => tokio::time::sleep(Duration::from_millis(500)).await,
        b"peer" => {
            let peer = ctx.extensions().get::<Peer>().map_or("nobody".to_owned(), Peer::to_string);
            return Response::ok(bytes(peer));
        }
        _ => {}
    }
    Response::ok(request)
}

/// `hang` (one message, then nothing), `flood` (64 KiB messages without end), or a decimal count of messages.
async fn down(live: Live, request: BytesValue) -> ServiceResult<ServiceStream<BytesValue>> {
    let guard = live.enter();
    let text = String::from_utf8_lossy(&request.value).into_owned();
    let messages: ServiceStream<BytesValue> = match text.as_str() {
        "hang" => stream::iter([Ok(bytes("one"))]).chain(stream::pending()).boxed(),
        "flood" => stream::repeat_with(|| Ok(bytes([7; 64 * 1024]))).boxed(),
        count => {
            let count: u64 = count.parse().map_err(|_| ConnectError::invalid_argument("not a count"))?;
            stream::iter((0..count).map(|i| Ok(bytes(i.to_be_bytes())))).boxed()
        }
    };
    let messages = messages.map(move |message| {
        let _held = &guard;
        message
    });
    Response::ok(messages.boxed())
}

/// `hang` as the first message (reads no more), else the decimal sum of all messages' sizes.
async fn up(live: Live, mut requests: ServiceStream<BytesValue>) -> ServiceResult<BytesValue> {
    let _guard = live.enter();
    let mut total = 0;
    while let Some(request) = requests.next().await {
        let request = request?;
        if request.value == b"hang" {
            std::future::pending::<()>().await;
        }
        total += request.value.len();
    }
    Response::ok(bytes(total.to_string()))
}

/// Echoes every message.
async fn both(live: Live, requests: ServiceStream<BytesValue>) -> ServiceResult<ServiceStream<BytesValue>> {
    let guard = live.enter();
    let echoed = requests.map(move |request| {
        let _held = &guard;
        request
    });
    Response::ok(echoed.boxed())
}

/// The client of the service over a link, as a generated client would be.
#[derive(Clone)]
pub struct Echo {
    link: LinkClient,
    config: ClientConfig,
}

pub type Down = ServerStream<LinkBody, BytesValueView<'static>>;
pub type Both = BidiStream<LinkBody, BytesValue, BytesValueView<'static>>;

impl Echo {
    pub fn new(link: &LinkClient) -> Self {
        Self { link: link.clone(), config: link.config() }
    }

    pub async fn unary(&self, request: impl AsRef<[u8]>, options: CallOptions) -> Result<Vec<u8>, ConnectError> {
        call_unary::<_, _, BytesValueView>(&self.link, &self.config, UNARY, bytes(request), options)
            .await
            .map(|response| response.into_owned().value)
            .map_err(|error| self.link.map_error(error))
    }

    pub async fn down(&self, request: impl AsRef<[u8]>, options: CallOptions) -> Result<Down, ConnectError> {
        call_server_stream(&self.link, &self.config, DOWN, bytes(request), options).await
    }

    /// The next message of a stream, with the link's error mapping.
    pub async fn next(&self, stream: &mut Down) -> Result<Option<Vec<u8>>, ConnectError> {
        let message = stream.message().await.map_err(|error| self.link.map_error(error))?;
        Ok(message.map(|message| message.to_owned_message().value))
    }

    pub async fn up(
        &self,
        requests: impl Stream<Item = BytesValue> + Send + 'static,
        options: CallOptions,
    ) -> Result<String, ConnectError> {
        call_client_stream::<_, _, BytesValueView>(&self.link, &self.config, UP, requests, options)
            .await
            .map(|response| String::from_utf8(response.into_owned().value).unwrap())
            .map_err(|error| self.link.map_error(error))
    }

    pub async fn both(&self, options: CallOptions) -> Result<Both, ConnectError> {
        call_bidi_stream(&self.link, &self.config, BOTH, options).await
    }

    /// The next message of a bidi stream, with the link's error mapping.
    pub async fn next_both(&self, stream: &mut Both) -> Result<Option<Vec<u8>>, ConnectError> {
        let message = stream.message().await.map_err(|error| self.link.map_error(error))?;
        Ok(message.map(|message| message.to_owned_message().value))
    }

    /// A call of the given kind whose handler runs and does not end by itself; ends only with an error.
    pub async fn hang(&self, kind: Kind, options: CallOptions) -> ConnectError {
        match kind {
            Kind::Unary => self.unary("hang", options).await.unwrap_err(),
            Kind::Down => match self.down("hang", options).await {
                Err(error) => self.link.map_error(error),
                Ok(mut stream) => loop {
                    if let Err(error) = self.next(&mut stream).await {
                        return error;
                    }
                },
            },
            Kind::Up => {
                let requests = stream::iter([bytes("hang")]).chain(stream::pending());
                self.up(requests, options).await.unwrap_err()
            }
            Kind::Both => {
                let mut stream = self.both(options).await.unwrap();
                stream.send(bytes("ping")).await.unwrap();
                loop {
                    if let Err(error) = self.next_both(&mut stream).await {
                        return error;
                    }
                }
            }
        }
    }
}

/// The four call kinds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Unary,
    Down,
    Up,
    Both,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Unary, Self::Down, Self::Up, Self::Both];
}
