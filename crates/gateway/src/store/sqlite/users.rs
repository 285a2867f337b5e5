//! Users: names, roles and hashes of passwords.

use hostler_model::{Role, UserId};
use rusqlite::{Connection, OptionalExtension, Row};

use super::rows;
use crate::store::{Result, StoreError, User};

pub fn create(db: &Connection, user: &User, password_hash: &str) -> Result<()> {
    if by_name(db, &user.name)?.is_some() {
        return Err(StoreError::Exists { what: "a user", name: user.name.clone() });
    }
    db.prepare_cached("INSERT INTO users (id, name, role, password_hash, created_at) VALUES (?, ?, ?, ?, ?)")?
        .execute((user.id.to_string(), &user.name, user.role.word(), password_hash, user.created_at.micros()))?;
    Ok(())
}

pub fn all(db: &Connection) -> Result<Vec<User>> {
    let mut query = db.prepare_cached("SELECT * FROM users ORDER BY name, id")?;
    let users = query.query_map([], from_row)?.collect::<rusqlite::Result<_>>()?;
    Ok(users)
}

pub fn by_name(db: &Connection, name: &str) -> Result<Option<(User, String)>> {
    let found = db
        .prepare_cached("SELECT * FROM users WHERE name = ?")?
        .query_row([name], |row| Ok((from_row(row)?, row.get("password_hash")?)))
        .optional()?;
    Ok(found)
}

pub fn set_role(db: &Connection, id: UserId, role: Role) -> Result<()> {
    one(db.prepare_cached("UPDATE users SET role = ? WHERE id = ?")?.execute((role.word(), id.to_string()))?, id)
}

pub fn set_password(db: &Connection, id: UserId, password_hash: &str) -> Result<()> {
    let mut update = db.prepare_cached("UPDATE users SET password_hash = ? WHERE id = ?")?;
    one(update.execute((password_hash, id.to_string()))?, id)
}

pub fn delete(db: &Connection, id: UserId) -> Result<()> {
    one(db.prepare_cached("DELETE FROM users WHERE id = ?")?.execute([id.to_string()])?, id)
}

fn one(changed: usize, id: UserId) -> Result<()> {
    match changed {
        0 => Err(StoreError::NotFound { what: "user", id: id.to_string() }),
        _ => Ok(()),
    }
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        id: rows::parsed(row, "id")?,
        name: row.get("name")?,
        role: rows::parsed(row, "role")?,
        created_at: rows::time(row, "created_at")?,
        last_sign_in_at: rows::optional_time(row, "last_sign_in_at")?,
    })
}
