//! The tenants that are purged, as the store knows them: their requests are refused.

use parking_lot::RwLock;
use sandpiper_domain::Tenant;
use sandpiper_store::{JobStore, StoreError};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tracing::warn;

/// Time between two reads from the store.
const READ_EVERY: Duration = Duration::from_secs(1);
/// Time after which every node has read a change of the store.
pub(super) const KNOWN_AFTER: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub struct PurgedTenants {
    store: Arc<dyn JobStore>,
    tenants: RwLock<HashSet<Tenant>>,
}

impl PurgedTenants {
    #[must_use]
    pub fn new(store: Arc<dyn JobStore>) -> Arc<Self> {
        Arc::new(Self {
            store,
            tenants: RwLock::default(),
        })
    }

    /// Reads the tenants from the store once a second, for as long as another owner of this value exists.
    pub async fn keep_current(self: Arc<Self>) {
        let this = Arc::downgrade(&self);
        drop(self);
        let mut was_read = true;
        while let Some(this) = this.upgrade() {
            let read = this.read().await;
            if let (Err(cause), true) = (&read, was_read) {
                warn!(%cause, "the purged tenants cannot be read: this service learns of a purge at another node once the store responds");
            }
            was_read = read.is_ok();
            drop(this);
            tokio::time::sleep(READ_EVERY).await;
        }
    }

    pub async fn read(&self) -> Result<(), StoreError> {
        let tenants = self.store.purged_tenants().await?;
        if *self.tenants.read() != tenants {
            *self.tenants.write() = tenants;
        }
        Ok(())
    }

    #[must_use]
    pub fn contains(&self, tenant: &Tenant) -> bool {
        let tenants = self.tenants.read();
        !tenants.is_empty() && tenants.contains(tenant)
    }
}
