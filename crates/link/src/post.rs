//! One request to a gateway outside a link: how a host joins before it has one.

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::Settings;
use crate::client::error_text;
use crate::connect::connect;
use crate::dial::refusal;
use crate::dial_error::DialError;
use crate::target::Target;
use crate::tls::Trust;

/// Largest head of an answer, bytes.
const ANSWER_HEAD_MAX: usize = 16 * 1024;
/// Largest body of an answer, bytes.
const ANSWER_MAX: usize = 64 * 1024;

/// Sends `body` (JSON) to `path` below the gateway's URL and gives the body of a 2xx answer, at most 64 KiB. Redirects are not
/// followed: what is sent is secret.
///
/// # Errors
/// As [`crate::dial`]; any other status is [`DialError::Refused`].
pub async fn post(
    url: &str,
    trust: &Trust,
    path: &str,
    body: Vec<u8>,
    settings: &Settings,
) -> Result<(StatusCode, Vec<u8>), DialError> {
    let target = Target::parse(url)?;
    let (stream, _) = connect(&target, trust, settings).await?;
    let protocol = |error: hyper::Error| DialError::Protocol(error_text(&error));
    let request = Request::post(format!("{}{path}", target.prefix))
        .header(HOST, target.authority())
        .header(CONNECTION, "close")
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| DialError::Protocol(error.to_string()))?;
    let exchange = async {
        let (mut send, connection) = http1::Builder::new()
            .max_buf_size(ANSWER_HEAD_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(protocol)?;
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let mut response = send.send_request(request).await.map_err(protocol)?;
        if !response.status().is_success() {
            return Err(DialError::Refused(refusal(&mut response).await));
        }
        let mut answer = BytesMut::new();
        while let Some(frame) = response.body_mut().frame().await {
            if let Some(data) = frame.map_err(protocol)?.data_ref() {
                if answer.len() + data.len() > ANSWER_MAX {
                    return Err(DialError::Protocol("its answer is longer than 64 KiB".to_owned()));
                }
                answer.extend_from_slice(data);
            }
        }
        Ok((response.status(), answer.to_vec()))
    };
    let after = settings.handshake_timeout;
    timeout(after, exchange).await.map_err(|_| DialError::TimedOut { what: "answer the request", after })?
}
