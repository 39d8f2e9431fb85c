//! Why no primary answers: asks each host of the connection string by itself, without a user, what it is.

use std::time::Duration;

use futures_util::future::join_all;
use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::options::{ClientOptions, ReadPreference, SelectionCriteria, ServerAddress};

use super::hang_up;

/// How long each host may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Says in one or two lines what the hosts of `options` are, and what to do about it.
pub async fn explain(options: &ClientOptions) -> String {
    let answers = join_all(options.hosts.iter().map(|host| ask(options, host))).await;
    let hosts = names(options.hosts.iter().map(ToString::to_string));
    let Some(hello) = answers.into_iter().flatten().next() else {
        return format!(
            "nothing answers at {hosts}\nIs it running, is the address right, and does a firewall let it through?"
        );
    };
    describe(&hello, options, &hosts)
}

/// The host's answer to `hello`.
async fn ask(options: &ClientOptions, host: &ServerAddress) -> Option<Document> {
    let mut alone = options.clone();
    (alone.hosts, alone.direct_connection, alone.repl_set_name) = (vec![host.clone()], Some(true), None);
    (alone.credential, alone.min_pool_size) = (None, None);
    alone.server_selection_timeout = Some(ANSWER_MAX);
    let client = Client::with_options(alone).ok()?;
    let nearest = SelectionCriteria::ReadPreference(ReadPreference::Nearest { options: None });
    let hello = client.database("admin").run_command(doc! { "hello": 1 }).selection_criteria(nearest).await;
    hang_up(&client).await;
    hello.ok()
}

fn describe(hello: &Document, options: &ClientOptions, hosts: &str) -> String {
    let is_true = |name: &str| hello.get_bool(name).unwrap_or_default();
    let Ok(set) = hello.get_str("setName") else {
        return format!(
            "MongoDB at {hosts} belongs to a replica set that is not initiated\nRun rs.initiate() once in mongosh, \
             connected to it."
        );
    };
    if let Some(wanted) = options.repl_set_name.as_deref().filter(|wanted| *wanted != set) {
        return format!(
            "MongoDB at {hosts} is of the replica set {set}, but MONGO_URI says replicaSet={wanted}"
        );
    }
    let members = names(hello.get_array("hosts").into_iter().flatten().filter_map(|host| host.as_str()));
    if options.direct_connection == Some(true) && is_true("secondary") {
        return format!(
            "MongoDB at {hosts} is a secondary, and directConnection=true leads to it alone\nName all members in \
             MONGO_URI, with replicaSet={set} instead: {members}."
        );
    }
    if is_true("isWritablePrimary") || hello.get_str("primary").is_ok() {
        return format!(
            "MongoDB at {hosts} answers, but the members of its replica set call themselves {members}, and no primary answers \
             there\nMake these names lead to them from here; or, for a single member, add directConnection=true to MONGO_URI."
        );
    }
    format!(
        "the replica set {set} at {hosts} has no primary: are a majority of its members ({members}) running?"
    )
}

fn names<T: AsRef<str>>(names: impl Iterator<Item = T>) -> String {
    names.map(|name| name.as_ref().to_owned()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(hello: Document, change: impl FnOnce(&mut ClientOptions), part: &str) {
        let mut options = ClientOptions::default();
        change(&mut options);
        let text = describe(&hello, &options, "127.0.0.1:27017");
        assert!(text.contains(part), "{text}");
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let member = |more: Document| {
            let mut hello = doc! { "setName": "rs0", "hosts": ["mongo:27017"] };
            hello.extend(more);
            hello
        };
        check(doc! { "isreplicaset": true }, |_| (), "rs.initiate()");
        check(member(doc! {}), |options| options.repl_set_name = Some("rs1".into()), "replica set rs0");
        check(member(doc! { "isWritablePrimary": true }), |_| (), "mongo:27017");
        check(member(doc! { "isWritablePrimary": true }), |_| (), "directConnection=true");
        let direct = |options: &mut ClientOptions| options.direct_connection = Some(true);
        check(member(doc! { "secondary": true }), direct, "is a secondary");
        check(member(doc! { "secondary": true }), |_| (), "has no primary");
    }
}
