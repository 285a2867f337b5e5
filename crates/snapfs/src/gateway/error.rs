/// Why a gateway cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// It refused the credentials (401 or 403), now and for every call to come.
    #[error("{0}")]
    Unauthorized(String),
    /// Its settings cannot work.
    #[error("{0}")]
    Setup(String),
    /// It did not answer, or not as a SnapFS gateway does; another try may succeed.
    #[error("{0}")]
    Unavailable(String),
    /// The directory of what is still to be sent cannot be used.
    #[error("{0}")]
    Spool(String),
}
