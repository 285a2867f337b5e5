//! Making and changing users. A role that changes or a user who is deleted counts at once, on open streams too.

use hostler_identity::password::{self, HashError, WeakPassword};
use hostler_model::{Role, SessionId, UserId};

use super::passwords::Busy;
use crate::clock;
use crate::state::AppState;
use crate::store::{StoreError, User};

/// Why a user was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The name cannot be used.
    #[error("a user's name has 1 to 64 letters, digits, dots, dashes, underscores or @")]
    Name,
    /// The password cannot be used.
    #[error(transparent)]
    Weak(#[from] WeakPassword),
    /// The present password is another one.
    #[error("the present password is wrong")]
    WrongPassword,
    /// Too much at once.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The password was not hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The store failed, has a user of that name, or has none of that id.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A name that people can type and read.
pub fn check_name(name: &str) -> Result<&str, UserError> {
    let name = name.trim();
    let fits = !name.is_empty()
        && name.chars().count() <= 64
        && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '@'));
    if fits { Ok(name) } else { Err(UserError::Name) }
}

/// Makes a user.
pub async fn create(state: &AppState, name: &str, role: Role, password: &str) -> Result<User, UserError> {
    let name = check_name(name)?.to_owned();
    let hash = hash(state, password).await?;
    let user = User { id: UserId::new(), name, role, created_at: clock::now(), last_sign_in_at: None };
    state.store.create_user(user.clone(), hash).await?;
    Ok(user)
}

/// One user.
pub async fn find(state: &AppState, id: UserId) -> Result<User, StoreError> {
    let users = state.store.users().await?;
    users.into_iter().find(|u| u.id == id).ok_or(StoreError::NotFound { what: "user", id: id.to_string() })
}

/// Changes what a user may do, at once.
pub async fn set_role(state: &AppState, id: UserId, role: Role) -> Result<User, UserError> {
    state.store.set_user_role(id, role).await?;
    state.auth.changed();
    Ok(find(state, id).await?)
}

/// Replaces a user's password and ends their sessions but `except`.
pub async fn set_password(
    state: &AppState,
    id: UserId,
    password: &str,
    except: Option<SessionId>,
) -> Result<(), UserError> {
    let hash = hash(state, password).await?;
    state.store.set_user_password(id, hash).await?;
    state.store.end_sessions_of(id, except).await?;
    state.auth.changed();
    Ok(())
}

/// Fails unless `password` is the user's present one.
pub async fn check_password(state: &AppState, user: &User, password: &str) -> Result<(), UserError> {
    let hash = state.store.user_by_name(&user.name).await?.map(|(_, hash)| hash);
    match state.auth.passwords.verify(password.to_owned(), hash).await? {
        true => Ok(()),
        false => Err(UserError::WrongPassword),
    }
}

/// Deletes a user and ends their sessions.
pub async fn delete(state: &AppState, id: UserId) -> Result<(), StoreError> {
    state.store.delete_user(id).await?;
    state.auth.changed();
    Ok(())
}

async fn hash(state: &AppState, password: &str) -> Result<String, UserError> {
    password::check_strength(password)?;
    Ok(state.auth.passwords.hash(password.to_owned()).await??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_users() {
        for good in ["ada", " ada ", "ada.l-b_c@example.org", "Zoë"] {
            assert_eq!(check_name(good).unwrap(), good.trim());
        }
        for bad in ["", " ", "a b", "<b>", "a\nb", "a/b", &"x".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
