//! Counters and histograms of HTTP requests by route, method and status. Every label is from a fixed list, so clients
//! cannot create new series.

use super::routes::Route;
use actix_web::http::{Method, StatusCode};
use sandpiper_http_kit::counters::{Counter, Histogram};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "other",
];
/// The statuses that this service sends, sorted, with their labels. 0 stands for any other.
const STATUSES: [(u16, &str); 28] = [
    (0, "other"),
    (200, "200"),
    (202, "202"),
    (204, "204"),
    (206, "206"),
    (304, "304"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (406, "406"),
    (408, "408"),
    (409, "409"),
    (410, "410"),
    (413, "413"),
    (415, "415"),
    (416, "416"),
    (417, "417"),
    (421, "421"),
    (422, "422"),
    (429, "429"),
    (431, "431"),
    (500, "500"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
    (505, "505"),
];

type ByMethod<T> = [T; METHODS.len()];

/// The counters and histograms of all requests.
#[derive(Debug, Default)]
pub struct HttpMeters {
    routes: [RouteMeters; Route::ALL.len()],
    in_flight: AtomicUsize,
    abandoned: Counter,
}

#[derive(Debug, Default)]
struct RouteMeters {
    times: ByMethod<Histogram>,
    ends: ByMethod<[Counter; STATUSES.len()]>,
}

/// The number of requests of one route, method and status.
#[derive(Debug)]
pub(super) struct RequestCount {
    pub(super) route: &'static str,
    pub(super) method: &'static str,
    pub(super) status: &'static str,
    pub(super) count: u64,
}

/// A request that is being handled. If it is dropped before [`OpenRequest::end`], its client has disconnected.
#[derive(Debug)]
pub(super) struct OpenRequest<'a> {
    meters: &'a HttpMeters,
    has_ended: bool,
}

impl HttpMeters {
    pub(super) fn begin(&self) -> OpenRequest<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        OpenRequest {
            meters: self,
            has_ended: false,
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn abandoned(&self) -> u64 {
        self.abandoned.get()
    }

    /// Returns the request counts that are not zero.
    pub(super) fn ended(&self) -> impl Iterator<Item = RequestCount> {
        let routes = Route::ALL.iter().zip(&self.routes);
        let by_method = routes.flat_map(|(route, meters)| {
            let ends = METHODS.into_iter().zip(&meters.ends);
            ends.map(move |(method, ends)| (route.path(), method, ends))
        });
        by_method
            .flat_map(|(route, method, ends)| {
                let counts = STATUSES.into_iter().zip(ends);
                counts.map(move |((_, status), count)| RequestCount {
                    route,
                    method,
                    status,
                    count: count.get(),
                })
            })
            .filter(|ended| ended.count > 0)
    }

    /// Returns the durations by route and method, where there were requests.
    pub(super) fn times(&self) -> impl Iterator<Item = (&'static str, &'static str, &Histogram)> {
        let routes = Route::ALL.iter().zip(&self.routes);
        routes.flat_map(|(route, meters)| {
            let methods = METHODS.into_iter().zip(&meters.times).zip(&meters.ends);
            methods
                .filter(|(_, ends)| ends.iter().any(|count| count.get() > 0))
                .map(move |((method, times), _)| (route.path(), method, times))
        })
    }
}

impl OpenRequest<'_> {
    pub(super) fn end(mut self, route: Route, method: &Method, status: StatusCode, took: Duration) {
        self.has_ended = true;
        let meters = &self.meters.routes[route as usize];
        let method = METHODS
            .iter()
            .position(|known| *known == method.as_str())
            .unwrap_or(METHODS.len() - 1);
        let status = STATUSES
            .binary_search_by_key(&status.as_u16(), |(status, _)| *status)
            .unwrap_or_default();
        meters.ends[method][status].count();
        meters.times[method].observe(took);
    }
}

impl Drop for OpenRequest<'_> {
    fn drop(&mut self) {
        self.meters.in_flight.fetch_sub(1, Ordering::Relaxed);
        if !self.has_ended {
            self.meters.abandoned.count();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::problem::Code;

    #[test]
    fn statuses_are_sorted_and_labelled() {
        assert!(STATUSES.is_sorted());
        for (status, label) in STATUSES.into_iter().skip(1) {
            assert_eq!(status.to_string(), label);
        }
    }

    #[test]
    fn every_status_of_a_problem_has_a_label() {
        for code in Code::ALL {
            let status = code.status();
            assert!(
                STATUSES.iter().any(|(known, _)| *known == status),
                "{status}"
            );
        }
    }
}
