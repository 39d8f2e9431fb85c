//! A bounded queue that serves its owners in turn, so that one of them cannot keep the others waiting.

use std::collections::VecDeque;

/// Jobs by owner. The first owner is served next, and then goes to the end.
pub struct FairQueue<K, T> {
    owners: VecDeque<(K, VecDeque<T>)>,
    jobs: usize,
    jobs_max: usize,
}

/// A queue is full, and the owner has his share of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl<K: PartialEq, T> FairQueue<K, T> {
    /// A queue for at most `jobs_max` jobs.
    pub fn new(jobs_max: usize) -> Self {
        Self { owners: VecDeque::new(), jobs: 0, jobs_max }
    }

    /// How many jobs are served before the next one of this owner: all of its own, and of each other owner as many at most.
    pub fn ahead_of(&self, owner: &K) -> usize {
        let own = self.of(owner).map_or(0, VecDeque::len);
        let others = self.owners.iter().filter(|(other, _)| other != owner);
        own + others.map(|(_, jobs)| jobs.len().min(own + 1)).sum::<usize>()
    }

    /// Adds a job. If the queue is full, the newest job of the owner with the most makes room, and is returned.
    ///
    /// # Errors
    /// `Full` when the owner itself has the most.
    pub fn push(&mut self, owner: K, job: T) -> Result<Option<T>, Full> {
        let displaced = if self.jobs < self.jobs_max { None } else { Some(self.make_room(&owner)?) };
        match self.owners.iter_mut().find(|(other, _)| *other == owner) {
            Some((_, jobs)) => jobs.push_back(job),
            None => self.owners.push_back((owner, VecDeque::from([job]))),
        }
        self.jobs += 1;
        Ok(displaced)
    }

    /// The next job.
    pub fn pop(&mut self) -> Option<T> {
        let (owner, mut jobs) = self.owners.pop_front()?;
        let job = jobs.pop_front();
        if !jobs.is_empty() {
            self.owners.push_back((owner, jobs));
        }
        self.jobs -= usize::from(job.is_some());
        job
    }

    fn of(&self, owner: &K) -> Option<&VecDeque<T>> {
        self.owners.iter().find(|(other, _)| other == owner).map(|(_, jobs)| jobs)
    }

    fn make_room(&mut self, owner: &K) -> Result<T, Full> {
        let own = self.of(owner).map_or(0, VecDeque::len);
        let largest = self.owners.iter_mut().max_by_key(|(_, jobs)| jobs.len());
        // One that has two more than the owner keeps at least as many as the owner gets.
        let (_, jobs) = largest.filter(|(_, jobs)| jobs.len() > own + 1).ok_or(Full)?;
        let displaced = jobs.pop_back().ok_or(Full)?;
        self.jobs -= 1;
        Ok(displaced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_served_in_turn() {
        let mut queue = FairQueue::new(100);
        for job in 0..50 {
            queue.push("storm", job).unwrap();
        }
        assert_eq!((queue.ahead_of(&"storm"), queue.ahead_of(&"ada")), (50, 1));
        queue.push("ada", 100).unwrap();
        queue.push("ada", 101).unwrap();
        queue.push("bob", 200).unwrap();
        assert_eq!(queue.ahead_of(&"ada"), 2 + 3 + 1);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).take(7).collect();
        assert_eq!(order, [0, 100, 200, 1, 101, 2, 3]);
        assert_eq!(std::iter::from_fn(|| queue.pop()).count(), 46);
        assert_eq!((queue.jobs, queue.owners.len()), (0, 0));
    }

    #[test]
    fn a_full_queue_makes_room_for_who_has_less() {
        let mut queue = FairQueue::new(4);
        for job in 0..4 {
            assert_eq!(queue.push("storm", job), Ok(None));
        }
        assert_eq!(queue.push("storm", 4), Err(Full));
        assert_eq!(queue.push("ada", 10), Ok(Some(3)), "the newest makes room");
        assert_eq!(queue.push("bob", 20), Ok(Some(2)));
        assert_eq!(queue.push("ada", 11), Err(Full), "nobody has much more");
        assert_eq!(queue.push("eve", 30), Ok(Some(1)));
        assert_eq!(std::iter::from_fn(|| queue.pop()).collect::<Vec<_>>(), [0, 10, 20, 30]);
    }
}
