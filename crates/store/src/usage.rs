//! Usage in a store: sums for each owner, by hour, day and month of UTC.
//!
//! A store counts the jobs that it accepts and settles itself, in the same transaction, so that each counts once. The
//! executions of `POST /api/execute` are counted by the node that ran them, which records them in batches.

use super::StoreError;
use async_trait::async_trait;
use sandpiper_domain::{Access, ChargedUsage, Owner, Period, Tenant, Timestamp, UsageCounts};
use std::fmt;
use std::sync::Arc;

/// Usage of one owner in one hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageEntry {
    pub owner: Owner,
    /// The first moment of the hour.
    pub hour: Timestamp,
    pub counts: UsageCounts,
}

/// Usage that a node counted, to be recorded once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageBatch {
    /// The number of the batch among those of this node, from 1. A store records no batch whose number is not higher than
    /// that of the last one.
    pub sequence: u64,
    pub entries: Vec<UsageEntry>,
}

#[derive(Debug, Clone)]
pub struct UsageQuery {
    pub access: Access,
    pub period: Period,
    /// First moment, which begins a period.
    pub from: Timestamp,
    /// First moment that is not included.
    pub to: Timestamp,
    /// Most sums to return.
    pub limit: usize,
}

/// The usage of one owner in one period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageSum {
    /// The first moment of the period.
    pub start: Timestamp,
    pub owner: Owner,
    pub counts: UsageCounts,
}

/// The recorded usage at one moment.
#[derive(Debug, Clone)]
pub struct RecordedUsage {
    /// Sums by start and owner, oldest first. One more than the limit of the query means that there are more.
    pub sums: Vec<UsageSum>,
    /// The number of this node's last batch that the sums include; 0 for none.
    pub sequence: u64,
}

/// Asks for what tenants have used in a day and in a month.
#[derive(Debug, Clone)]
pub struct TotalsQuery {
    pub tenants: Vec<Tenant>,
    /// The first moment of the day.
    pub day: Timestamp,
    /// The first moment of the month.
    pub month: Timestamp,
}

/// The usage of one owner in a day or a month, in the units of budgets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageTotal {
    pub owner: Owner,
    pub period: Period,
    pub charged: ChargedUsage,
}

/// The totals of tenants at one moment.
#[derive(Debug, Clone, Default)]
pub struct RecordedTotals {
    /// Several totals of one owner and period add up. Those with reserved processor time are of all jobs that have not
    /// ended, whenever they were accepted.
    pub totals: Vec<UsageTotal>,
    /// The number of this node's last batch that the totals include; 0 for none.
    pub sequence: u64,
    /// The number of other nodes that are alive, and accept requests of the same tenants.
    pub other_nodes: u64,
}

/// The part of a store that holds usage.
#[async_trait]
pub trait UsageStore: fmt::Debug + Send + Sync {
    /// Records a batch, once however often it is given: a caller that got no response gives it again.
    async fn record_usage(&self, batch: Arc<UsageBatch>) -> Result<(), StoreError>;

    async fn usage(&self, query: &UsageQuery) -> Result<RecordedUsage, StoreError>;

    async fn usage_totals(&self, query: &TotalsQuery) -> Result<RecordedTotals, StoreError>;
}
