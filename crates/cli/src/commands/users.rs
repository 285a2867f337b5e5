//! `hostler users`.

use std::io::{BufRead, IsTerminal};

use anyhow::{Context, Result, bail, ensure};
use hostler_model::{Role, UserId};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::args::{PasswordSource, UserCreate, UserDelete, UserSetPassword, UserSetRole, Users, UsersList};
use crate::client::Client;
use crate::output;
use crate::views::User;

/// Longest line that is read as a password, bytes.
const MAX_LINE: u64 = 4096;

pub async fn run(args: Users) -> Result<()> {
    match args {
        Users::Create(args) => create(args).await,
        Users::List(args) => list(args).await,
        Users::SetRole(args) => set_role(args).await,
        Users::SetPassword(args) => set_password(args).await,
        Users::Delete(args) => delete(args).await,
    }
}

async fn create(args: UserCreate) -> Result<()> {
    #[derive(Serialize)]
    struct NewUser<'a> {
        name: &'a str,
        role: Role,
        password: &'a str,
    }
    let client = Client::new(&args.connection)?;
    let password = read_password(&args.password)?;
    let body = NewUser { name: &args.name, role: args.role, password: &password };
    let made: Box<RawValue> = client.post("/users", Some(&body)).await?;
    if args.connection.json {
        return output::json(&made);
    }
    eprintln!("Made {} as {}.", args.name, args.role);
    Ok(())
}

async fn list(args: UsersList) -> Result<()> {
    let items = Client::new(&args.connection)?.all("/users").await?;
    if args.connection.json {
        return output::json_array(&items);
    }
    let rows = output::parse::<User>(&items)?.into_iter().map(|u| {
        vec![
            u.name,
            u.role.to_string(),
            output::ago(Some(u.created_at)),
            output::ago(u.last_sign_in_at),
            u.id.to_string(),
        ]
    });
    output::table(&["NAME", "ROLE", "CREATED", "LAST SIGN-IN", "ID"], rows)
}

async fn set_role(args: UserSetRole) -> Result<()> {
    #[derive(Serialize)]
    struct Change {
        role: Role,
    }
    let client = Client::new(&args.connection)?;
    let user = find(&client, &args.user).await?;
    let changed: Box<RawValue> = client.patch(&format!("/users/{}", user.id), &Change { role: args.role }).await?;
    if args.connection.json {
        return output::json(&changed);
    }
    eprintln!("{} is now {}.", user.name, args.role);
    Ok(())
}

async fn set_password(args: UserSetPassword) -> Result<()> {
    #[derive(Serialize)]
    struct Change<'a> {
        password: &'a str,
    }
    let client = Client::new(&args.connection)?;
    let user = find(&client, &args.user).await?;
    let password = read_password(&args.password)?;
    client.post_nothing(&format!("/users/{}/password", user.id), &Change { password: &password }).await?;
    if args.connection.json {
        return output::line(format!("{{\"id\":\"{}\",\"password_changed\":true}}", user.id));
    }
    eprintln!("Changed the password of {}; their other sessions have ended.", user.name);
    Ok(())
}

async fn delete(args: UserDelete) -> Result<()> {
    let client = Client::new(&args.connection)?;
    let user = find(&client, &args.user).await?;
    client.delete(&format!("/users/{}", user.id)).await?;
    if args.connection.json {
        return output::line(format!("{{\"id\":\"{}\",\"deleted\":true}}", user.id));
    }
    eprintln!("Deleted {}.", user.name);
    Ok(())
}

/// The user of this name or id.
async fn find(client: &Client, wanted: &str) -> Result<User> {
    let users: Vec<User> = output::parse(&client.all("/users").await?)?;
    let id: Option<UserId> = wanted.parse().ok();
    let names: Vec<String> = users.iter().map(|u| u.name.clone()).collect();
    match users.into_iter().find(|u| u.name == wanted || Some(u.id) == id) {
        Some(user) => Ok(user),
        None if names.is_empty() => bail!("no user is named {wanted:?}; make one with `hostler users create`"),
        None => bail!("no user is named {wanted:?}; the users are {}", names.join(", ")),
    }
}

/// A password from standard input, or typed twice without being shown.
fn read_password(source: &PasswordSource) -> Result<String> {
    if source.password_stdin {
        return read_line();
    }
    ensure!(std::io::stdin().is_terminal(), "there is no terminal to ask for the password; use --password-stdin");
    let ask =
        |prompt| rpassword::prompt_password(prompt).context("cannot ask for a password here; use --password-stdin");
    let first = ask("Password: ")?;
    ensure!(first == ask("Again: ")?, "the two passwords differ; nothing was changed");
    Ok(first)
}

fn read_line() -> Result<String> {
    let mut line = String::new();
    let mut input = std::io::Read::take(std::io::stdin().lock(), MAX_LINE);
    input.read_line(&mut line).context("cannot read the password")?;
    let password = line.trim_end_matches(['\r', '\n']);
    ensure!(!password.is_empty(), "no password was given");
    Ok(password.to_owned())
}
