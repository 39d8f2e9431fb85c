//! Makes a `mongod` that has just started a primary that takes writes from the user of flash-sale servers.

use std::net::Ipv4Addr;
use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{ClientOptions, ServerAddress};
use mongodb::{Client, Database};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::access::Access;
use super::error::EmbeddedError;

/// The name of the replica set, which the data contains.
pub(super) const REPLICA_SET_NAME: &str = "flash-sale";

/// How often to ask `mongod` whether it is ready.
const POLL_MILLISECONDS: u64 = 5;
/// How long a single answer may take.
const ANSWER_SECONDS_MAX: u64 = 5;
/// The wire version of MongoDB 6.0.
const WIRE_VERSION_MIN: i32 = 17;
/// The error of a `mongod` without a replica set.
const CODE_NOT_YET_INITIALIZED: i32 = 94;
/// The error of a `mongod` that has a replica set, or is still reading its configuration.
const CODE_ALREADY_INITIALIZED: i32 = 23;

/// The address of the one member, as the replica set knows it.
pub(super) fn member_host(port: u16) -> String {
    format!("{}:{port}", Ipv4Addr::LOCALHOST)
}

/// Makes the `mongod` with this process id, which is going to listen on the port, a primary, and returns when it takes
/// writes from its user. It tries without end: the caller sets a time limit and watches for the end of `mongod`.
///
/// # Errors
/// `mongod` is too old, or refuses.
pub(super) async fn bring_up(port: u16, process_id: u32, access: &Access) -> Result<(), EmbeddedError> {
    // Not left to the driver, which waits half a second after a refused connection.
    until_listening(port).await;
    let limit = Duration::from_secs(ANSWER_SECONDS_MAX);
    let options = ClientOptions::builder()
        .hosts(vec![ServerAddress::Tcp { host: Ipv4Addr::LOCALHOST.to_string(), port: Some(port) }])
        .direct_connection(true)
        .credential(access.system())
        .connect_timeout(limit)
        .server_selection_timeout(limit)
        .build();
    let client = Client::with_options(options)?;
    let outcome = until_primary(&client.database("admin"), &member_host(port), process_id, access).await;
    // So that no task of the driver outlives this function.
    client.shutdown().immediate(true).await;
    outcome
}

async fn until_listening(port: u16) {
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
        pause().await;
    }
}

async fn until_primary(
    admin: &Database,
    host: &str,
    process_id: u32,
    access: &Access,
) -> Result<(), EmbeddedError> {
    let mut known_as_ours = false;
    loop {
        match one_step(admin, host, process_id, access, &mut known_as_ours).await {
            Ok(Step::Ready) => return Ok(()),
            Ok(Step::TooOld) => return Err(EmbeddedError::TooOld),
            Ok(Step::Wait) => pause().await,
            // mongod drops connections when its role changes, and another program's server may answer anything.
            Err(error) if !matches!(*error.kind, ErrorKind::Command(_)) => pause().await,
            Err(error) if !known_as_ours => {
                tracing::debug!(%error, "our mongod does not answer yet");
                pause().await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

enum Step {
    Ready,
    TooOld,
    Wait,
}

/// Looks at `mongod` once, and changes its replica set if necessary.
async fn one_step(
    admin: &Database,
    host: &str,
    process_id: u32,
    access: &Access,
    known_as_ours: &mut bool,
) -> Result<Step, Error> {
    if !*known_as_ours {
        // If another mongod took the port just before ours, ours is about to end, and the caller sees its exit.
        *known_as_ours = answers_as(admin, process_id).await?;
        if !*known_as_ours {
            return Ok(Step::Wait);
        }
    }
    let hello = admin.run_command(doc! { "hello": 1 }).await?;
    if hello.get_i32("maxWireVersion").unwrap_or(0) < WIRE_VERSION_MIN {
        return Ok(Step::TooOld);
    }
    if hello.get_bool("isWritablePrimary").unwrap_or(false) {
        access.grant(admin).await?;
        return Ok(Step::Ready);
    }
    if !hello.contains_key("setName") {
        // It has no replica set, or does not find itself in it, or has not read its configuration yet.
        found_or_move(admin, host).await?;
    }
    Ok(Step::Wait)
}

/// Whether the server on this port is the process that we have started.
async fn answers_as(admin: &Database, process_id: u32) -> Result<bool, Error> {
    // Leave out the largest sections.
    let question = doc! { "serverStatus": 1, "metrics": 0, "wiredTiger": 0, "tcmalloc": 0, "locks": 0 };
    let status = admin.run_command(question).await?;
    Ok(status.get_i64("pid").is_ok_and(|pid| pid == i64::from(process_id)))
}

/// Creates the replica set, or moves its member to the current port.
async fn found_or_move(admin: &Database, host: &str) -> Result<(), Error> {
    match admin.run_command(doc! { "replSetGetConfig": 1 }).await {
        Ok(mut answer) => match moved(&mut answer, host) {
            Some(config) => {
                admin.run_command(doc! { "replSetReconfig": config, "force": true }).await.map(drop)
            }
            None => Ok(()),
        },
        Err(error) if code(&error) == Some(CODE_NOT_YET_INITIALIZED) => {
            let config = doc! { "_id": REPLICA_SET_NAME, "members": [{ "_id": 0, "host": host }] };
            match admin.run_command(doc! { "replSetInitiate": config }).await {
                // It has one after all, and was still reading its configuration.
                Err(error) if code(&error) == Some(CODE_ALREADY_INITIALIZED) => Ok(()),
                answer => answer.map(drop),
            }
        }
        Err(error) => Err(error),
    }
}

/// The configuration with its one member moved to this host; `None` if the member is already there.
fn moved(answer: &mut Document, host: &str) -> Option<Document> {
    let mut config = answer.get_document_mut("config").ok().map(std::mem::take)?;
    let member = config.get_array_mut("members").ok()?.first_mut()?.as_document_mut()?;
    if member.get_str("host").is_ok_and(|known| known == host) {
        return None;
    }
    member.insert("host", host);
    // A forced reconfiguration raises the version itself, and refuses a configuration with a term.
    config.remove("term");
    Some(config)
}

fn code(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

async fn pause() {
    sleep(Duration::from_millis(POLL_MILLISECONDS)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_member_moves_to_another_port_and_nothing_else_changes() {
        let config =
            |host: &str| doc! { "_id": "flash-sale", "version": 3, "members": [{ "_id": 0, "host": host }] };
        let mut with_term = config("127.0.0.1:1");
        with_term.insert("term", 7_i64);
        let answer = doc! { "config": with_term, "ok": 1.0 };
        assert_eq!(moved(&mut answer.clone(), "127.0.0.1:2"), Some(config("127.0.0.1:2")));
        assert_eq!(moved(&mut answer.clone(), "127.0.0.1:1"), None);
        assert_eq!(moved(&mut doc! { "ok": 1.0 }, "127.0.0.1:1"), None);
    }
}
