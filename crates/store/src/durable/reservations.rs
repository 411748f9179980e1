//! Room in the database that is reserved for the executions that run on this node.

use dashmap::DashMap;
use sandpiper_domain::ClientKey;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(super) struct Reservations {
    clients: DashMap<ClientKey, u64>,
    all: AtomicU64,
}

/// A reservation, released when this is dropped.
#[derive(Debug)]
pub(super) struct Reservation<'a> {
    reservations: &'a Reservations,
    client: ClientKey,
    bytes: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct ReservedBefore {
    of_client: u64,
    of_all: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    pub(super) stored: u64,
    pub(super) bytes_max: u64,
}

impl Bound {
    /// Returns whether `bytes` fit beside what is stored and reserved. The first reservation always fits: otherwise an
    /// execution whose output may be larger than the bound would never run.
    fn fits(self, reserved: u64, bytes: u64) -> bool {
        let sum = self.stored.saturating_add(reserved).saturating_add(bytes);
        reserved == 0 || sum <= self.bytes_max
    }
}

impl Reservations {
    /// Reserves `bytes` for an execution of `client`, and returns what was reserved before.
    pub(super) fn reserve(
        &self,
        client: &ClientKey,
        bytes: u64,
    ) -> (Reservation<'_>, ReservedBefore) {
        let of_client = {
            let mut reserved = self.clients.entry(client.clone()).or_default();
            let before = *reserved;
            *reserved += bytes;
            before
        };
        let of_all = self.all.fetch_add(bytes, Ordering::Relaxed);
        let reservation = Reservation {
            reservations: self,
            client: client.clone(),
            bytes,
        };
        (reservation, ReservedBefore { of_client, of_all })
    }
}

impl Reservation<'_> {
    /// Returns whether the reservation fits within the bound of its client and that of the store.
    pub(super) fn fits(&self, before: ReservedBefore, client: Bound, all: Bound) -> bool {
        client.fits(before.of_client, self.bytes) && all.fits(before.of_all, self.bytes)
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let reservations = self.reservations;
        reservations.all.fetch_sub(self.bytes, Ordering::Relaxed);
        if let Some(mut reserved) = reservations.clients.get_mut(&self.client) {
            *reserved -= self.bytes;
        }
        reservations
            .clients
            .remove_if(&self.client, |_, reserved| *reserved == 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reservation_fits_and_so_do_as_many_more_as_there_is_room_for() {
        let reservations = Reservations::default();
        let client = ClientKey::new("a");
        let bound = |stored, bytes_max| Bound { stored, bytes_max };
        let (first, before) = reservations.reserve(&client, 100);
        let is_first = bound(9, 10).fits(before.of_client, 100);
        assert!(is_first, "the first always fits");
        let (second, before) = reservations.reserve(&client, 100);
        assert!(bound(50, 250).fits(before.of_client, 100));
        assert!(!bound(51, 250).fits(before.of_client, 100));
        let (of_another, before) = reservations.reserve(&ClientKey::new("b"), 1);
        assert!(bound(0, 1).fits(before.of_client, 1));
        assert!(!bound(0, 200).fits(before.of_all, 1));
        assert!(!of_another.fits(before, bound(0, 1), bound(0, 200)));
        drop((first, second, of_another));
        assert_eq!(reservations.all.load(Ordering::Relaxed), 0);
        assert!(reservations.clients.is_empty());
    }
}
