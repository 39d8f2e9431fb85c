//! A whole run: the cluster, the people, the faults, the end, and what was found.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::{DateTime, Document, doc, oid::ObjectId};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::actors::watchers::Watcher;
use crate::actors::{
    Actor, CHANGING, HELD_SECONDS, HOT, LIMITED, SCARCE, admin, buyers, payers, plans, readers,
};
use crate::checker::{self, Report, Violation};
use crate::cluster::{Cluster, soon};
use crate::faults::{Breakable, Breaker, Plan};
use crate::random::Random;
use crate::record::{History, SECOND, Try, now};
use crate::settings::Settings;
use crate::shop::Shop;

const SERVERS: usize = 3;
const BUYERS: u64 = 24;
/// Those of what has to be paid for.
const PAYERS: u64 = 12;
/// How late a purchase may expire by the database's clock, while nothing is broken.
pub const EXPIRY_LATE_MS_MAX: i64 = 5_000;
/// How long each of them rests between two wishes.
const REST_MS: u64 = 120;
/// How long at the end everybody sells in peace: whoever was in doubt finds out.
const PEACE: Duration = Duration::from_secs(3);
/// How often a long run says what it has done.
const PROGRESS: Duration = Duration::from_secs(30);

/// Runs it; panics with all that was found.
pub async fn run(settings: &Settings) {
    now();
    println!("the history of seed {}, {} s; again: {}", settings.seed, settings.seconds, settings.repeat());
    let mut cluster = Cluster::start("run").await;
    cluster.start_servers(settings, "history", SERVERS).await;
    let cluster = Arc::new(cluster);
    let shop = Arc::new(Shop::open(&cluster, plans()).await);
    println!("{:>6.1} s  the shop is open", seconds(now()));
    play(settings, &cluster, &shop).await;
    let history = Arc::into_inner(shop).expect("everybody has gone home").into_history();
    let mut report = checker::check(&history);
    if settings.faults.is_empty() {
        checker::sightings(&history, &mut report);
    }
    print(&history, &report);
    let logs = cluster.root().display().to_string();
    if !report.violations.is_empty() {
        cluster.keep();
        let list: Vec<_> = report.violations.iter().map(|violation| tell(&history, violation)).collect();
        panic!(
            "{} kinds of violation: {:?}\n{}\nlogs: {logs}\nagain: {}",
            report.found.len(),
            report.found,
            list.join("\n"),
            settings.repeat()
        );
    }
    Arc::into_inner(cluster).expect("nobody breaks anything any more").remove();
}

/// Everybody comes, things break and are mended, everybody goes.
async fn play(settings: &Settings, cluster: &Arc<Cluster>, shop: &Arc<Shop>) {
    let (over, is_over) = watch::channel(false);
    let actor = |purpose| Actor {
        shop: Arc::clone(shop),
        is_over: is_over.clone(),
        random: Random::new(settings.seed, purpose),
    };
    let mut people = JoinSet::new();
    for buyer in 0..BUYERS {
        people.spawn(buyers::buy_on_and_on(actor(100 + buyer), REST_MS));
    }
    for payer in 0..PAYERS {
        people.spawn(payers::hold_on_and_on(actor(200 + payer)));
    }
    people.spawn(admin::restock_on_and_on(actor(2)));
    people.spawn(admin::change_on_and_on(actor(3)));
    people.spawn(readers::ask_now_and_then(actor(4)));
    people.spawn(readers::ask_now_and_then(actor(5)));
    for server in 0..SERVERS {
        people.spawn(readers::ask_as_a_crowd(actor(10 + server as u64), server));
    }
    people.spawn(count_failovers(Arc::clone(cluster), actor(6)));
    let (ends, until) = watch::channel([None; 5]);
    let mut watchers = JoinSet::new();
    for (number, (product, over_socket)) in
        [(HOT, false), (HOT, true), (SCARCE[0], true), (LIMITED, false), (CHANGING, true)]
            .into_iter()
            .enumerate()
    {
        let (end, until_here) = watch::channel(None);
        let mut until = until.clone();
        watchers.spawn(async move {
            drop(until.wait_for(|ends: &[Option<i64>; 5]| ends[usize::from(product)].is_some()).await);
            end.send_replace(until.borrow()[usize::from(product)]);
            end.closed().await;
        });
        let actor = actor(20 + number as u64);
        watchers.spawn(Watcher::new(actor, number, product, over_socket, until_here).watch_on_and_on());
    }
    let breakable = Breakable { disks: cluster.has_disks(), clocks: cluster.has_clocks() };
    let plan = Plan::new(settings.seed, &settings.faults, breakable);
    break_things(settings, cluster, actor(7), plan).await;
    cluster.heal().await;
    let peace = clock(cluster).await;
    tokio::time::sleep(PEACE).await;
    over.send_replace(true);
    soon("the end of all buyers", async {
        while people.join_next().await.is_some_and(|ended| ended.is_ok()) {}
    })
    .await;
    payers::settle_doubts(&actor(8)).await;
    let_expire(cluster, shop, peace).await;
    end(cluster, shop, |last| _ = ends.send_replace(last), &mut watchers).await;
}

/// Breaks things as planned, until the time is over.
async fn break_things(settings: &Settings, cluster: &Arc<Cluster>, actor: Actor, mut plan: Plan) {
    let begin = Instant::now();
    let (mut said, mut steps) = (Instant::now(), 0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    while begin.elapsed() < Duration::from_secs(settings.seconds) {
        let step = plan.next();
        steps += 1;
        println!("{:>6.1} s  {:?} for {:.1} s", seconds(now()), step.faults, step.lasts_ms as f64 / 1e3);
        let both = step.faults.iter().enumerate().map(|(place, fault)| {
            let random = Random::new(settings.seed, 1_000 + 2 * steps + place as u64);
            let mut breaker = Breaker { cluster: Arc::clone(cluster), actor: actor.clone(), random };
            async move { breaker.inflict(*fault, Duration::from_millis(step.lasts_ms)).await }
        });
        futures_util::future::join_all(both).await;
        cluster.heal().await;
        tokio::time::sleep(Duration::from_millis(step.rest_ms)).await;
        if said.elapsed() > PROGRESS {
            said = Instant::now();
            let history = actor.shop.write();
            let (tries, told) =
                (history.tries.len(), history.tries.iter().filter(|one| one.told.is_some()).count());
            println!(
                "{:>6.1} s  {tries} tries, {told} bought, {} reads",
                seconds(now()),
                history.reads.len()
            );
        }
    }
}

/// Waits until all that is held now is decided, or should be: who pays has gone home. What was bought while a clock ran ahead
/// is due when the others get there, and is not waited for.
async fn let_expire(cluster: &Cluster, shop: &Shop, peace: i64) {
    let purchases = cluster.database().await.collection::<Document>("purchases");
    let begin = clock(cluster).await;
    let due = begin + HELD_SECONDS * 1_000;
    let held = doc! { "status": "pending", "expiresAt": { "$lte": DateTime::from_millis(due) } };
    let mut now = begin;
    while now <= due + EXPIRY_LATE_MS_MAX && purchases.count_documents(held.clone()).await.unwrap_or(1) > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        now = clock(cluster).await;
    }
    shop.write().stored.peace = Some((peace, now));
}

/// The database's clock.
async fn clock(cluster: &Cluster) -> i64 {
    let look = async {
        loop {
            let primary = cluster.primary().await;
            let hello = cluster.members[primary].run(doc! { "hello": 1 }).await;
            if let Some(now) = hello.ok().and_then(|hello| hello.get_datetime("localTime").ok().copied()) {
                return now.timestamp_millis();
            }
        }
    };
    soon("the time", look).await
}

/// The watchers get what they have missed, the servers end, and the database is read.
async fn end(
    cluster: &Cluster,
    shop: &Shop,
    tell_watchers: impl FnOnce([Option<i64>; 5]),
    watchers: &mut JoinSet<()>,
) {
    let database = cluster.database().await;
    shop.read_stored(&database).await;
    let mut last = [Some(0); 5];
    for stored in &shop.write().stored.purchases {
        if let Some(newest) = last.get_mut(usize::from(stored.product)) {
            *newest = (*newest).max(Some(stored.purchase.sequence));
        }
    }
    tell_watchers(last);
    let all = async { while watchers.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_secs(30), all).await.is_err() {
        // What they lack, the checker says.
        watchers.shutdown().await;
    }
    for server in &cluster.servers {
        server.stop().await;
    }
    shop.read_stored(&database).await;
}

/// Looks who is the primary.
async fn count_failovers(cluster: Arc<Cluster>, mut actor: Actor) {
    let mut newest: Option<ObjectId> = None;
    while actor.rest(200, 200).await {
        for member in &cluster.members {
            let hello = member.run(doc! { "hello": 1 }).await;
            let Some(election) = hello.ok().and_then(|answer| answer.get_object_id("electionId").ok()) else {
                continue;
            };
            if newest.is_some_and(|newest| election > newest) {
                actor.shop.write().sightings.failovers += 1;
            }
            newest = newest.max(Some(election));
        }
    }
}

fn print(history: &History, report: &Report) {
    let purchases = history.tries.iter().filter(|one| one.told.is_some()).count();
    println!("{} tries, {purchases} bought, {:?}", history.tries.len(), history.sightings);
    print!("checked:\n{}", report.summary());
    let mut told: Vec<_> =
        history.tries.iter().filter(|one| one.product == HOT).filter_map(|one| one.told_at()).collect();
    told.sort_unstable();
    println!(
        "how often what was broken, and the longest time without a purchase of the hot product meanwhile or after:"
    );
    let mut outages: BTreeMap<&str, (u32, u64)> = BTreeMap::new();
    for span in &history.spans {
        let gaps = told.windows(2).filter(|pair| pair[1] > span.from && pair[0] < span.to + 2 * SECOND);
        let longest = gaps.map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
        let (times, worst) = outages.entry(&span.fault).or_default();
        *times += 1;
        *worst = longest.max(*worst);
    }
    for (fault, (times, worst)) in outages {
        println!("  {times:>4} times, {:>5.1} s  {fault}", seconds(worst));
    }
}

/// The violation, and all tries with the key that it is about.
fn tell(history: &History, violation: &Violation) -> String {
    let mut text = format!("  {violation:?}");
    if let Some((user, key)) = violation.user_and_key() {
        let with_key = |one: &&Try| (one.user, one.key) == (user, Some(key));
        history.tries.iter().filter(with_key).for_each(|one| text.push_str(&format!("\n    {one:?}")));
    }
    text
}

fn seconds(time: u64) -> f64 {
    time as f64 / 1e6
}
