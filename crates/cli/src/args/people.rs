//! Who may do what, and who did.

use clap::{Args, Subcommand};
use hostler_model::{ApiKeyId, Role, SessionId, time};

use super::{Connection, Limit};

#[derive(Subcommand)]
pub enum ApiKeys {
    /// Make a key; its secret is printed this once
    Create(ApiKeyCreate),
    /// All keys, without their secrets
    List(ApiKeysList),
    /// Make a key useless at once
    Revoke(ApiKeyRevoke),
}

#[derive(Args)]
pub struct ApiKeyCreate {
    /// What to call it
    pub name: String,
    /// viewer, operator or admin
    #[arg(long)]
    pub role: Role,
    /// How long it works, such as 90d; for good when left out
    #[arg(long, value_name = "AGE", value_parser = time::parse_age)]
    pub expires: Option<u64>,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct ApiKeysList {
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct ApiKeyRevoke {
    /// The key's id
    pub id: ApiKeyId,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct SignIn {
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Subcommand)]
pub enum Users {
    /// Make a user; the password is asked for
    Create(UserCreate),
    /// All users
    List(UsersList),
    /// Give a user another role, at once
    SetRole(UserSetRole),
    /// Give a user another password; their other sessions end
    SetPassword(UserSetPassword),
    /// Delete a user; their sessions end
    Delete(UserDelete),
}

#[derive(Args)]
pub struct UserCreate {
    /// What the user signs in with
    pub name: String,
    /// viewer, operator or admin
    #[arg(long)]
    pub role: Role,
    #[command(flatten)]
    pub password: PasswordSource,
    #[command(flatten)]
    pub connection: Connection,
}

/// Where a password comes from. Never an argument: those are seen by everyone on the machine.
#[derive(Args)]
pub struct PasswordSource {
    /// Read the password from the first line of standard input
    #[arg(long)]
    pub password_stdin: bool,
}

#[derive(Args)]
pub struct UsersList {
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct UserSetRole {
    /// Name or id
    pub user: String,
    /// viewer, operator or admin
    pub role: Role,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct UserSetPassword {
    /// Name or id
    pub user: String,
    #[command(flatten)]
    pub password: PasswordSource,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct UserDelete {
    /// Name or id
    pub user: String,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Subcommand)]
pub enum Sessions {
    /// Browsers that are signed in
    List(SessionsList),
    /// Sign a browser out
    End(SessionEnd),
}

#[derive(Args)]
pub struct SessionsList {
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct SessionEnd {
    /// The session's id
    pub id: SessionId,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct Audit {
    /// Only what this one did: a user's or key's name
    #[arg(long)]
    pub who: Option<String>,
    /// Only this action, such as hosts.remove, or the beginning of actions, such as hosts
    #[arg(long)]
    pub action: Option<String>,
    /// Only on this host: name or id
    #[arg(long)]
    pub host: Option<String>,
    /// ok, refused or failed
    #[arg(long)]
    pub result: Option<String>,
    /// Only entries of this age or younger, such as 7d, or after this RFC 3339 time
    #[arg(long, value_name = "AGE")]
    pub since: Option<String>,
    #[command(flatten)]
    pub limit: Limit,
    #[command(flatten)]
    pub connection: Connection,
}
