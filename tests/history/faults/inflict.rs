//! Breaks things, and mends them.

use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::{Document, doc};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::{FailPoint, Fault, How, Jump, Role, Whom};
use crate::actors::{Actor, buyers};
use crate::cluster::{Cluster, Flow, Way};
use crate::random::Random;
use crate::record::{Span, now};
use crate::shop::number;

/// How far clocks jump.
const AHEAD_SECONDS: i64 = 60;
const BACK_SECONDS: i64 = 5;
/// How often a full disk is looked at, as something may be freed on it.
const FILL_AGAIN: Duration = Duration::from_millis(200);
/// Buyers of a burst.
const BURST_BUYERS: usize = 250;

/// Who breaks things.
pub struct Breaker {
    pub cluster: Arc<Cluster>,
    pub actor: Actor,
    pub random: Random,
}

impl Breaker {
    /// Breaks it, waits, mends it; and writes down from when to when.
    pub async fn inflict(&mut self, fault: Fault, lasts: Duration) {
        let server = self.random.below(self.cluster.servers.len());
        let primary = self.cluster.primary().await;
        let from = now();
        let silent = matches!(fault, Fault::KillServer | Fault::StopServer).then(|| number(server));
        let cluster = Arc::clone(&self.cluster);
        let members = &cluster.members;
        let secondary = (primary + 1 + self.random.below(2)) % members.len();
        match fault {
            Fault::KillServer => {
                cluster.servers[server].kill();
                sleep(lasts).await;
                cluster.servers[server].restart().await;
            }
            Fault::StopServer => {
                cluster.servers[server].signal(Signal::STOP);
                sleep(lasts).await;
                cluster.servers[server].signal(Signal::CONT);
            }
            Fault::RollingRestart => self.rolling_restart().await,
            Fault::KillPrimary => self.kill_member(primary, lasts).await,
            Fault::KillSecondary => self.kill_member(secondary, lasts).await,
            Fault::StopPrimary => self.stop_member(primary, lasts).await,
            Fault::StopSecondary => self.stop_member(secondary, lasts).await,
            Fault::StepDown => {
                let step_down = doc! { "replSetStepDown": 10, "secondaryCatchUpPeriodSecs": 2 };
                drop(members[primary].run(step_down).await);
                sleep(lasts).await;
            }
            Fault::LonelyPrimary => {
                futures_util::future::join_all(members.iter().map(|member| member.follow_nobody(true))).await;
                cluster.replace(primary).await;
                sleep(lasts).await;
                futures_util::future::join_all(members.iter().map(|member| member.follow_nobody(false)))
                    .await;
            }
            Fault::IsolatePrimary => {
                cluster.cut_off_from_peers(primary, true);
                sleep(lasts).await;
                cluster.cut_off_from_peers(primary, false);
            }
            Fault::IsolatePrimaryWithServer => self.isolate_with_server(primary, server, lasts).await,
            Fault::CutServer(whom, how) => self.cut(server, whom, primary, how, lasts).await,
            Fault::SlowServer => {
                let milliseconds = self.random.between(20, 400);
                for way in &cluster.ways[server] {
                    way.set(Flow::Slow(milliseconds), Flow::Slow(milliseconds));
                }
                sleep(lasts).await;
                cluster.ways[server].iter().for_each(Way::heal);
            }
            Fault::Fail(point) => {
                members[primary].fail(doc! { "activationProbability": 0.4 }, data(point)).await;
                sleep(lasts).await;
                members[primary].fail_no_more().await;
            }
            Fault::Overload => buyers::burst(self.actor.clone(), BURST_BUYERS).await,
            Fault::FullDisk(Role::Primary) => self.fill_disk(primary, lasts).await,
            Fault::FullDisk(Role::Secondary) => self.fill_disk(secondary, lasts).await,
            Fault::Clock(jump) => self.jump(primary, jump, false, lasts).await,
            Fault::ClockAndFailover(jump) => self.jump(primary, jump, true, lasts).await,
        }
        let span = Span { fault: format!("{fault:?}"), silent_server: silent, from, to: now() };
        self.actor.shop.write().spans.push(span);
    }

    async fn rolling_restart(&mut self) {
        for (place, server) in self.cluster.servers.iter().enumerate() {
            let from = now();
            let was_in_time = server.stop().await;
            server.restart().await;
            let fault = if was_in_time { "restarted in order" } else { "killed, as it did not end in time" };
            let (fault, silent_server) = (fault.to_owned(), Some(number(place)));
            let span = Span { fault, silent_server, from, to: now() };
            self.actor.shop.write().spans.push(span);
        }
    }

    async fn kill_member(&self, number: usize, lasts: Duration) {
        self.cluster.members[number].kill();
        sleep(lasts).await;
        self.cluster.members[number].restart().await;
    }

    async fn stop_member(&self, number: usize, lasts: Duration) {
        self.cluster.members[number].signal(Signal::STOP);
        sleep(lasts).await;
        self.cluster.members[number].signal(Signal::CONT);
    }

    async fn fill_disk(&self, number: usize, lasts: Duration) {
        let member = &self.cluster.members[number];
        let end = Instant::now() + lasts;
        while Instant::now() < end {
            member.fill_disk().await;
            sleep(FILL_AGAIN).await;
        }
        member.get_over_full_disk().await;
    }

    async fn jump(&self, primary: usize, jump: Jump, fails_over: bool, lasts: Duration) {
        let member = &self.cluster.members[primary];
        let ahead_seconds = match jump {
            Jump::Ahead => AHEAD_SECONDS,
            Jump::Back => -BACK_SECONDS,
        };
        member.set_clock(ahead_seconds).await;
        if fails_over {
            self.cluster.replace(primary).await;
        }
        sleep(lasts).await;
        member.set_clock(0).await;
    }

    async fn isolate_with_server(&self, primary: usize, server: usize, lasts: Duration) {
        let others = || (0..self.cluster.members.len()).filter(|member| *member != primary);
        self.cluster.cut_off_from_peers(primary, true);
        for member in others() {
            self.cluster.ways[server][member].refuse();
        }
        for (_, ways) in self.cluster.ways.iter().enumerate().filter(|(other, _)| *other != server) {
            ways[primary].refuse();
        }
        // Before the old one is missed: for a moment there are two who believe in themselves.
        self.cluster.replace(primary).await;
        sleep(lasts).await;
        self.cluster.cut_off_from_peers(primary, false);
        self.cluster.ways.iter().flatten().for_each(Way::heal);
    }

    async fn cut(&self, server: usize, whom: Whom, primary: usize, how: How, lasts: Duration) {
        let ways = &self.cluster.ways[server];
        let ways: Vec<_> = match whom {
            Whom::All => ways.iter().collect(),
            Whom::Primary => vec![&ways[primary]],
        };
        for way in &ways {
            match how {
                How::Reset => way.refuse(),
                How::Drop => way.set(Flow::Dropped, Flow::Dropped),
                How::Hold => way.set(Flow::Held, Flow::Held),
                How::DropThere => way.set(Flow::Dropped, Flow::Open),
                How::DropBack => way.set(Flow::Open, Flow::Dropped),
                How::HoldBack => way.set(Flow::Open, Flow::Held),
            }
        }
        sleep(lasts).await;
        ways.into_iter().for_each(Way::heal);
    }
}

/// What the fail point does. Codes: 262 a time limit within the database, 11602 a primary that steps down, 91 one that shuts
/// down. A write conflict (112) is none of them: outside a transaction, MongoDB tells nobody of it.
fn data(point: FailPoint) -> Document {
    let statements = ["findAndModify", "update", "insert"];
    match point {
        FailPoint::Statement => doc! { "failCommands": statements.to_vec(), "errorCode": 262 },
        FailPoint::StatementCut => doc! { "failCommands": statements.to_vec(), "closeConnection": true },
        FailPoint::Commit => doc! { "failCommands": ["commitTransaction"], "errorCode": 11_602 },
        FailPoint::CommitCut => doc! { "failCommands": ["commitTransaction"], "closeConnection": true },
        FailPoint::CommitWriteConcern => {
            let error =
                doc! { "code": 91, "errmsg": "shutting down", "errorLabels": ["RetryableWriteError"] };
            doc! { "failCommands": ["commitTransaction"], "writeConcernError": error }
        }
        FailPoint::Find => doc! { "failCommands": ["find", "aggregate", "getMore"], "errorCode": 11_602 },
        FailPoint::FindCut => doc! { "failCommands": ["find", "getMore"], "closeConnection": true },
    }
}
