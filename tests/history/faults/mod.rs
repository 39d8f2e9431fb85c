//! What breaks: the kinds of fault, and the plan that a seed makes of them.

mod inflict;

use crate::random::Random;

pub use inflict::Breaker;

/// One thing that breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`.
    KillServer,
    /// It stands still, and goes on.
    StopServer,
    /// All servers end in order and start again, one after the other.
    RollingRestart,
    KillPrimary,
    KillSecondary,
    StopPrimary,
    StopSecondary,
    StepDown,
    /// Another member becomes the primary, and nobody follows it: it can confirm nothing.
    LonelyPrimary,
    /// The primary can reach no other member, but servers reach it.
    IsolatePrimary,
    /// The primary and one server are cut off from everything else, together.
    IsolatePrimaryWithServer,
    /// One server's way to the members.
    CutServer(Whom, How),
    /// Each byte of one server's way comes late.
    SlowServer,
    /// Commands fail at the primary.
    Fail(FailPoint),
    /// Many buyers at once.
    Overload,
    /// No block is left on a member's disk.
    FullDisk(Role),
    /// The primary's clock jumps, and back again.
    Clock(Jump),
    /// The same, and another member becomes the primary, whose clock is right.
    ClockAndFailover(Jump),
}

/// A member by what it is when something breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Primary,
    Secondary,
}

/// Where a clock jumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jump {
    /// A minute ahead.
    Ahead,
    /// Some seconds back.
    Back,
}

/// The members to which a way is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    All,
    Primary,
}

/// How a way is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Connections break, new ones are refused.
    Reset,
    /// Bytes are lost, both ways.
    Drop,
    /// Bytes wait, both ways.
    Hold,
    /// What the server says is lost.
    DropThere,
    /// What the database says is lost.
    DropBack,
    /// What the database says waits.
    HoldBack,
}

/// Which commands fail, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailPoint {
    Statement,
    StatementCut,
    Commit,
    CommitCut,
    CommitWriteConcern,
    FindCut,
    Find,
}

/// Each kind once, for a long run; a short one takes the first ones, which it cannot do without.
pub const ALL: [Fault; 38] = {
    use Fault::*;
    [
        StepDown,
        CutServer(Whom::All, How::HoldBack),
        KillServer,
        KillPrimary,
        StopServer,
        Fail(FailPoint::CommitCut),
        CutServer(Whom::Primary, How::Reset),
        RollingRestart,
        // From here on for a longer run.
        IsolatePrimary,
        LonelyPrimary,
        Overload,
        SlowServer,
        StopPrimary,
        Fail(FailPoint::CommitWriteConcern),
        KillSecondary,
        StopSecondary,
        IsolatePrimaryWithServer,
        CutServer(Whom::All, How::Reset),
        CutServer(Whom::All, How::Drop),
        CutServer(Whom::All, How::Hold),
        CutServer(Whom::All, How::DropThere),
        CutServer(Whom::All, How::DropBack),
        CutServer(Whom::Primary, How::Drop),
        CutServer(Whom::Primary, How::Hold),
        CutServer(Whom::Primary, How::DropThere),
        CutServer(Whom::Primary, How::DropBack),
        CutServer(Whom::Primary, How::HoldBack),
        Fail(FailPoint::Statement),
        Fail(FailPoint::StatementCut),
        Fail(FailPoint::Commit),
        Fail(FailPoint::FindCut),
        Fail(FailPoint::Find),
        FullDisk(Role::Primary),
        FullDisk(Role::Secondary),
        Clock(Jump::Ahead),
        Clock(Jump::Back),
        ClockAndFailover(Jump::Ahead),
        ClockAndFailover(Jump::Back),
    ]
};

/// So many of them a short run cannot do without.
const INDISPENSABLE: usize = 8;

/// What breaks when, without end.
pub struct Plan {
    random: Random,
    /// What is left of this round.
    left: Vec<Fault>,
    rounds: u32,
    possible: Vec<Fault>,
}

/// What is there to break, besides programs and ways.
#[derive(Debug, Clone, Copy)]
pub struct Breakable {
    /// A disk of its own for each member.
    pub disks: bool,
    /// A clock of its own for each member.
    pub clocks: bool,
}

/// The next thing to break, or two at once.
#[derive(Debug, Clone)]
pub struct Step {
    pub faults: Vec<Fault>,
    pub lasts_ms: u64,
    pub rest_ms: u64,
}

impl Plan {
    /// The plan of this seed, with faults that have `wanted` in their name (or, with `|` in it, one of its parts).
    pub fn new(seed: u64, wanted: &str, breakable: Breakable) -> Self {
        let is_wanted = |fault: &Fault| wanted.split('|').any(|part| format!("{fault:?}").contains(part));
        let is_possible = |fault: &Fault| match fault {
            Fault::FullDisk(_) => breakable.disks,
            Fault::Clock(_) | Fault::ClockAndFailover(_) => breakable.clocks,
            _ => true,
        };
        let possible: Vec<_> = ALL.into_iter().filter(is_wanted).filter(is_possible).collect();
        assert!(!possible.is_empty(), "no fault that is possible here has {wanted:?} in its name");
        Self { random: Random::new(seed, 1), left: Vec::new(), rounds: 0, possible }
    }

    /// What breaks next: first what no run can do without, one by one; then everything, alone and in pairs.
    pub fn next(&mut self) -> Step {
        while self.left.is_empty() {
            let round = match self.rounds {
                0 => &ALL[..INDISPENSABLE],
                1 => &ALL[INDISPENSABLE..],
                _ => &ALL[..],
            };
            self.left = round.iter().copied().filter(|fault| self.possible.contains(fault)).collect();
            self.random.shuffle(&mut self.left);
            self.rounds += 1;
        }
        let mut faults: Vec<_> = self.left.pop().into_iter().collect();
        if self.rounds > 1 && self.random.percent(40) {
            faults.extend(self.left.pop());
        }
        // Long enough for a commit to be given up, now and then.
        let is_first_round = self.rounds == 1;
        let longest = faults.iter().map(|fault| duration_ms(*fault, is_first_round)).max().unwrap_or(1_000);
        let lasts_ms = self.random.between(longest / 2, longest);
        Step {
            faults,
            lasts_ms,
            rest_ms: self.random.between(600, if is_first_round { 1_200 } else { 4_000 }),
        }
    }
}

fn duration_ms(fault: Fault, is_short: bool) -> u64 {
    match fault {
        Fault::CutServer(_, How::HoldBack) => {
            if is_short {
                4_000
            } else {
                7_500
            }
        }
        Fault::CutServer(..) | Fault::IsolatePrimary | Fault::IsolatePrimaryWithServer if !is_short => 12_000,
        Fault::StopServer | Fault::StopPrimary | Fault::SlowServer if !is_short => 9_000,
        Fault::StepDown | Fault::RollingRestart => 500,
        _ => 3_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_plan_and_a_round_has_everything() {
        let steps = |seed| {
            let mut plan = Plan::new(seed, "", Breakable { disks: true, clocks: true });
            (0..46).flat_map(|_| plan.next().faults).collect::<Vec<_>>()
        };
        assert_eq!(steps(7), steps(7));
        assert_ne!(steps(7), steps(8));
        assert!(ALL.iter().all(|fault| steps(7)[..ALL.len()].contains(fault)));
    }

    #[test]
    fn what_cannot_be_broken_is_left_out() {
        let mut plan = Plan::new(7, "", Breakable { disks: false, clocks: false });
        let all: Vec<_> = (0..100).flat_map(|_| plan.next().faults).collect();
        let needs_more = |fault: &Fault| {
            matches!(fault, Fault::FullDisk(_) | Fault::Clock(_) | Fault::ClockAndFailover(_))
        };
        assert!(!all.iter().any(needs_more));
        let mut plan = Plan::new(7, "FullDisk|Clock", Breakable { disks: true, clocks: false });
        assert!((0..20).flat_map(|_| plan.next().faults).all(|fault| matches!(fault, Fault::FullDisk(_))));
    }
}
