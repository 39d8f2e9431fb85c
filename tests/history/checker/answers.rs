//! What holds for every answer: documented, in time, with `Retry-After`; and whether the run met what it had to.

use std::collections::HashSet;

use super::{Report, Violation};
use crate::record::{
    About, Ask, Code, Entry, Exchange, History, Micros, Noted, Reply, SECOND, Status, StoredPurchase,
};

/// The longest that a server may take to say something, even if only that it cannot know.
const ANSWER_MAX: Micros = 15 * SECOND;
/// A client learns somewhat later that its server was killed, and a server that goes on needs a moment.
const SPAN_MARGIN: Micros = 3 * SECOND;

pub fn check(history: &History, report: &mut Report) {
    for one in &history.tries {
        exchange(history, "POST /products/purchase", one.exchange, purchase_may(one.exchange.reply), report);
    }
    for read in &history.reads {
        let (route, may) = match read.about {
            About::Product(_) => ("GET /products/{id}", &[][..]),
            About::Catalogue(_) => ("GET /products", &[][..]),
            About::Purchase { .. } => ("GET /purchases/{id}", &[(404, Code::PurchaseNotFound)][..]),
            About::Leaderboard { .. } => ("GET /leaderboard", &[][..]),
        };
        exchange(history, route, read.exchange, answers_with(read.exchange.reply, 200, may), report);
    }
    for step in &history.steps {
        let (route, may) = match step.ask {
            Ask::Confirm { is_right: true, .. } => (
                "POST /purchases/{id}/confirm",
                &[(409, Code::NotPending), (409, Code::Unfillable), (503, Code::Unknown)][..],
            ),
            Ask::Confirm { is_right: false, .. } => {
                ("POST /purchases/{id}/confirm", &[(422, Code::AmountMismatch), (503, Code::Unknown)][..])
            }
            Ask::Cancel { .. } => {
                ("POST /purchases/{id}/cancel", &[(409, Code::NotPending), (503, Code::Unknown)][..])
            }
            Ask::Refund { .. } => {
                ("POST /purchases/{id}/refund", &[(409, Code::NotPending), (503, Code::Unknown)][..])
            }
        };
        exchange(history, route, step.exchange, answers_with(step.exchange.reply, 200, may), report);
    }
    for change in &history.changes {
        let may = &[(412, Code::VersionConflict), (503, Code::Unknown)];
        let is_documented = answers_with(change.exchange.reply, 200, may);
        exchange(history, "a change of a product", change.exchange, is_documented, report);
    }
}

fn purchase_may(reply: Reply) -> bool {
    let refusals = [
        (409, Code::SoldOut),
        (409, Code::InsufficientStock),
        (409, Code::LimitReached),
        (409, Code::SaleEnded),
        (409, Code::SaleNotStarted),
        (409, Code::TooManyLapses),
        (422, Code::KeyReused),
        (503, Code::Unknown),
    ];
    answers_with(reply, 201, &refusals)
}

/// Whether it is this success, one of these problems, or one that every route may have.
fn answers_with(reply: Reply, success: u16, may: &[(u16, Code)]) -> bool {
    let Reply::Answer { status, code, .. } = reply else { return true };
    let always = [(success, Code::None), (503, Code::Overloaded), (503, Code::Unavailable)];
    always.iter().chain(may).any(|expected| *expected == (status, code))
}

fn exchange(
    history: &History,
    route: &'static str,
    exchange: Exchange,
    is_documented: bool,
    report: &mut Report,
) {
    let Exchange { server, sent, ended, reply } = exchange;
    let took = ended.saturating_sub(sent);
    match reply {
        Reply::NotSent => return,
        Reply::Answer { status, code, has_retry_after } => {
            report.checked("answers documented and in time", 1);
            if !is_documented {
                report.add(Violation::UndocumentedAnswer { route, server, sent, status, code });
            }
            if matches!(status, 429 | 503) && !has_retry_after {
                report.add(Violation::NoRetryAfter { route, server, sent });
            }
        }
        Reply::Cut if !was_silent(history, exchange) => {
            report.add(Violation::NoAnswer { route, server, sent });
        }
        Reply::Cut | Reply::GaveUp => {}
    }
    if took > ANSWER_MAX && !was_silent(history, exchange) {
        report.add(Violation::AnsweredTooLate { route, server, sent, seconds: took / SECOND });
    }
}

/// Whether the server could not answer at some time of the exchange.
fn was_silent(history: &History, exchange: Exchange) -> bool {
    let overlaps =
        |from: Micros, to: Micros| exchange.sent < to + SPAN_MARGIN && from < exchange.ended + SPAN_MARGIN;
    history
        .spans
        .iter()
        .any(|span| span.silent_server == Some(exchange.server) && overlaps(span.from, span.to))
}

/// What a run has to have met, or it has proved little.
pub fn sightings(history: &History, report: &mut Report) {
    let answered = |code| history.tries.iter().any(|one| one.exchange.reply.code() == Some(code));
    let told: HashSet<_> = history.tries.iter().filter_map(|one| Some(one.told?.id)).collect();
    // Nobody was told of it, and it was made.
    let is_unheard = |stored: &StoredPurchase| !told.contains(&stored.purchase.id);
    let in_doubt = answered(Code::Unknown) || history.stored.purchases.iter().any(is_unheard);
    let moved = |from: &[Status], to: Status| {
        let is_it = |noted: Noted| match noted {
            Noted::Move { from: left, to: reached, .. } => from.contains(&left) && reached == to,
            _ => false,
        };
        history.stored.entries.iter().any(|entry| is_it(entry.what))
    };
    let unfillable = |entry: &Entry| matches!(entry.what, Noted::Unfillable { .. });
    let met = [
        ("a failover", history.sightings.failovers > 0),
        ("an unknown commit", in_doubt),
        ("a replay", history.tries.iter().any(|one| one.is_replay)),
        ("a conflict", history.sightings.conflicts > 0),
        ("a sold-out", answered(Code::SoldOut)),
        ("a resync of a watcher", history.sightings.resyncs > 0),
    ];
    let met_of_held = [
        ("a purchase that expired", moved(&[Status::Pending], Status::Expired)),
        ("late money that bought again", moved(&[Status::Expired, Status::Canceled], Status::Confirmed)),
        ("money for which nothing was left", history.stored.entries.iter().any(unfillable)),
        ("a refund", moved(&[Status::Confirmed], Status::Refunded)),
    ];
    let has_held = history.products.iter().any(|plan| plan.payment_window_seconds.is_some());
    let met_of_held = met_of_held.iter().filter(|_| has_held);
    for (what, _) in met.iter().chain(met_of_held).filter(|(_, met)| !met) {
        report.add(Violation::NeverSaw { what });
    }
}
