//! The HTTP client of the service: which connections it opens, and for how long it reuses them.

use super::UpstreamOptions;
use super::upload::Body;
use futures_util::future::BoxFuture;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::time::timeout;
use tower_service::Service;

pub(super) type Client = legacy::Client<HttpConnector<ShuffledResolver>, Body>;

/// Returns a client without connections. Its connections close once they are idle and the client is dropped.
pub(super) fn client(options: &UpstreamOptions) -> Client {
    let mut connector = HttpConnector::new_with_resolver(ShuffledResolver(options.connect_timeout));
    connector.set_connect_timeout(Some(options.connect_timeout));
    connector.set_nodelay(true);
    legacy::Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(options.connections_max)
        .set_host(false)
        .build(connector)
}

/// The system's resolver, with the addresses shuffled: the system returns the same address first again and again.
///
/// A host name is resolved for each connection, so that replicas which come or go are noticed at once.
#[derive(Debug, Clone)]
pub(super) struct ShuffledResolver(Duration);

impl Service<Name> for ShuffledResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let within = self.0;
        Box::pin(async move {
            let found = timeout(within, lookup_host((name.as_str(), 0))).await??;
            let mut found: Vec<_> = found.collect();
            fastrand::shuffle(&mut found);
            Ok(found.into_iter())
        })
    }
}
