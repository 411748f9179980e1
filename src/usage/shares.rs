//! The part of a budget that a node may use up without knowing what other nodes do meanwhile.
//!
//! Each reading of the totals gives a node a share of what is left. The node lets requests through without a further
//! reading until the share is used up or too old. Beyond its share the node reads the totals for each request, or once for
//! all that wait, and leaves the others what they may still use of their shares. So a budget is exceeded at most by what
//! is in flight at the other nodes.

use std::time::{Duration, Instant};

/// A share is this part of what is left, divided by the number of nodes. A small part costs readings near the end of a
/// budget; a large one makes the last requests wait for the shares of others to end.
const PART: u64 = 16;

/// The numbers from which shares in one budget follow, in the exact units of its usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shares {
    /// Left at the last reading of the totals.
    pub(super) left_at_reading: u64,
    /// Left before any share that another node could still use at the last reading, or that the reading did not see.
    pub(super) left_before: u64,
    /// Used by this node since the last reading, requests in flight included.
    pub(super) own: u64,
}

/// A request that is not known to fit into a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Doubt {
    /// The totals are older than the request.
    Old,
    /// Other nodes may use up what is left. Their shares end soon.
    Others,
}

/// The totals by which a request is judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// The moment at which the last reading began.
    pub(super) began: Instant,
    /// Nodes that share budgets with this one.
    pub(super) other_nodes: u64,
    pub(super) now: Instant,
    /// The moment at which the request arrived.
    pub(super) arrived: Instant,
}

impl Shares {
    /// Longest time for which a share is used.
    pub(super) const LAST_FOR: Duration = Duration::from_secs(2);
    /// Time after which a share has ended, and what was used of it is in the store: a node writes its usage twice a second,
    /// and before each reading.
    pub(super) const END_AFTER: Duration = Duration::from_secs(3);

    /// Returns the doubt whether a request for `more` fits. `left` is what is left before the request.
    pub(super) fn doubt(&self, left: u64, more: u64, reading: &Reading) -> Option<Doubt> {
        let nodes = reading.other_nodes.saturating_add(1);
        if nodes == 1 {
            return None;
        }
        let of_each = |left: u64| left / PART.saturating_mul(nodes);
        let of_others = reading
            .other_nodes
            .saturating_mul(of_each(self.left_before));
        let is_enough = left >= of_others.saturating_add(more);
        // The processor time of a request is not known, and `more` is zero: then the share must not be used up yet.
        let has_share = self.own.saturating_add(more.max(1)) <= of_each(self.left_at_reading);
        if is_enough && has_share && reading.now < reading.began + Self::LAST_FOR {
            return None;
        }
        if reading.began < reading.arrived {
            return Some(Doubt::Old);
        }
        (!is_enough).then_some(Doubt::Others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(other_nodes: u64) -> Reading {
        let now = Instant::now();
        Reading {
            began: now,
            other_nodes,
            now,
            arrived: now + Duration::from_millis(1),
        }
    }

    const SHARES: Shares = Shares {
        left_at_reading: 320,
        left_before: 640,
        own: 9,
    };

    #[test]
    fn a_node_reads_the_totals_once_its_share_is_used_up_or_too_old() {
        let (mut reading, shares) = (reading(1), SHARES);
        assert_eq!(shares.doubt(151, 1, &reading), None);
        assert_eq!(shares.doubt(151, 2, &reading), Some(Doubt::Old));
        assert_eq!(shares.doubt(151, 0, &reading), None);
        let used_up = Shares { own: 10, ..SHARES };
        assert_eq!(used_up.doubt(150, 0, &reading), Some(Doubt::Old));
        reading.now = reading.began + Shares::LAST_FOR;
        assert_eq!(shares.doubt(151, 1, &reading), Some(Doubt::Old));
        // A node that is alone knows everything.
        reading.other_nodes = 0;
        assert_eq!(shares.doubt(151, 100, &reading), None);
    }

    #[test]
    fn a_share_counts_only_if_the_others_keep_theirs() {
        let mut reading = reading(1);
        let shares = Shares { own: 0, ..SHARES };
        assert_eq!(shares.doubt(21, 1, &reading), None);
        assert_eq!(shares.doubt(20, 1, &reading), Some(Doubt::Old));
        reading.arrived = reading.began;
        assert_eq!(shares.doubt(20, 1, &reading), Some(Doubt::Others));
    }

    #[test]
    fn beyond_its_share_a_node_leaves_the_others_theirs() {
        let mut reading = reading(1);
        reading.arrived = reading.began;
        let used_up = Shares { own: 10, ..SHARES };
        assert_eq!(used_up.doubt(21, 1, &reading), None);
        assert_eq!(used_up.doubt(20, 1, &reading), Some(Doubt::Others));
        reading.other_nodes = 3;
        assert_eq!(used_up.doubt(31, 1, &reading), None);
        assert_eq!(used_up.doubt(30, 1, &reading), Some(Doubt::Others));
    }

    #[test]
    fn the_last_of_a_budget_is_left_to_no_one() {
        let mut reading = reading(2);
        reading.arrived = reading.began;
        let last = Shares {
            left_at_reading: 1,
            left_before: 1,
            own: 0,
        };
        assert_eq!(last.doubt(1, 1, &reading), None);
    }

    /// Nodes use as they like. A node writes what it has used twice a second, before it reads, and at once beyond its share.
    #[test]
    fn nodes_that_keep_to_their_shares_exceed_no_budget() {
        const LIMIT: u64 = 600;
        let start = Instant::now();
        for seed in 1..=20_u64 {
            let mut random = fastrand::Rng::with_seed(seed);
            let count = random.u64(2..5);
            let mut nodes: Vec<Node> = (0..count).map(|_| Node::new(start)).collect();
            let (mut now, mut used) = (start, 0);
            while used < LIMIT {
                now += Duration::from_millis(random.u64(1..20));
                assert!(now < start + Duration::from_mins(30), "{used} of {LIMIT}");
                let index = random.usize(..nodes.len());
                let others = nodes
                    .iter()
                    .enumerate()
                    .filter(|(other, _)| *other != index);
                let others = others.map(|(_, node)| node.written).sum();
                for _ in 0..random.u64(..40) {
                    used += u64::from(nodes[index].uses_one(LIMIT, count - 1, others, now));
                }
                for node in &mut nodes {
                    node.write_if_due(now);
                }
            }
            assert_eq!(used, LIMIT, "seed {seed}");
        }
    }

    struct Node {
        used: u64,
        written: u64,
        written_at: Instant,
        read_at: Instant,
        /// The total at the last reading, and what this node had used by then.
        total: u64,
        used_by_then: u64,
        marks: Vec<(Instant, u64)>,
    }

    impl Node {
        fn new(start: Instant) -> Self {
            Self {
                used: 0,
                written: 0,
                written_at: start,
                read_at: start,
                total: 0,
                used_by_then: 0,
                marks: vec![(start, 0)],
            }
        }

        fn write_if_due(&mut self, now: Instant) {
            if self.written_at + Duration::from_millis(500) <= now {
                self.written = self.used;
                self.written_at = now;
            }
        }

        /// Uses one if the node may. `others` is what the other nodes have written.
        fn uses_one(&mut self, limit: u64, other_nodes: u64, others: u64, now: Instant) -> bool {
            let just_after = now + Duration::from_nanos(1);
            for arrived in [just_after, now] {
                let own = self.used - self.used_by_then;
                let left = limit.saturating_sub(self.total + own);
                let mut marks = self.marks.iter().rev();
                let before = marks.find(|(at, _)| *at + Shares::END_AFTER <= self.read_at);
                let shares = Shares {
                    left_at_reading: limit.saturating_sub(self.total),
                    left_before: limit.saturating_sub(before.map_or(0, |(_, total)| *total)),
                    own,
                };
                let reading = Reading {
                    began: self.read_at,
                    other_nodes,
                    now,
                    arrived,
                };
                match shares.doubt(left, 1, &reading) {
                    None if left > 0 => {
                        self.used += 1;
                        if arrived == now {
                            self.written = self.used;
                        }
                        return true;
                    }
                    Some(Doubt::Old) => {
                        self.written = self.used;
                        (self.total, self.used_by_then) = (others + self.used, self.used);
                        self.read_at = now;
                        self.marks.push((now, self.total));
                    }
                    None | Some(Doubt::Others) => return false,
                }
            }
            false
        }
    }
}
