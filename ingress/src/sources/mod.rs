//! Remote scripts, which a request only references: `"source": "https://…"`, `s3://…` or `gs://…`.
//!
//! A script is fetched from an allowed location (`location`, `address`; `https`, `bucket`), checked, and stored in the
//! folder that the service reads (`cache`). The service gets its SHA-256 in a header that no client can send.

mod address;
mod bucket;
mod cache;
mod error;
mod https;
mod location;
mod member;
mod unambiguous_path;

pub(crate) use cache::CacheGuard;
pub use location::Allowed;

use crate::hex::{Digest, to_hex};
use crate::problem::Problem;
use actix_web::rt::task::spawn_blocking;
use address::{AddressPolicy, GuardedResolver};
use bucket::Buckets;
use cache::{CacheError, ScriptCache};
use error::SourceError;
use https::Https;
use ipnet::IpNet;
use location::Location;
use member::RequestedSource;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tracing::error;

/// Maximum locations whose last content is recorded.
const LOCATIONS_MAX: usize = 10_000;
/// Maximum idle time of a connection to a host.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
const USER_AGENT: &str = concat!("sandpiper-ingress/", env!("CARGO_PKG_VERSION"));

/// The settings of remote scripts.
#[derive(Debug, Clone)]
pub struct SourcesOptions {
    /// The allowed hosts and buckets.
    pub allowed: Vec<Allowed>,
    /// Private networks that are allowed.
    pub networks: Vec<IpNet>,
    /// Name server to use instead of the machine's.
    pub nameserver: Option<SocketAddr>,
    /// PEM file of additional certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// The folder of the cache, which the service reads.
    pub folder: PathBuf,
    /// Maximum script, bytes.
    pub bytes_max: u64,
    /// Maximum time to fetch a script.
    pub timeout: Duration,
    /// Maximum concurrent fetches.
    pub fetches_max: usize,
    /// Maximum size of the cache, bytes.
    pub folder_bytes_max: u64,
    /// Time that an unused script stays in the cache.
    pub retention: Duration,
}

/// Remote scripts cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// The folder cannot be read or written.
    #[error("--sources-dir {folder}: {cause}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The cause.
        cause: std::io::Error,
    },
    /// The certificate authorities cannot be loaded.
    #[error("--source-ca-file {path}: {cause}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: String,
    },
    /// The name servers are unknown or invalid.
    #[error("--source-nameserver: {0}")]
    Names(String),
    /// Credentials or endpoints in the environment are invalid.
    #[error("--source-allow: the environment's settings of a bucket are invalid: {0}")]
    Bucket(#[from] object_store::Error),
    /// The HTTPS client cannot be built.
    #[error("the HTTPS client cannot be built: {0}")]
    Client(#[from] reqwest::Error),
}

/// A validator of HTTP: identifies one version of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Validator {
    Tag(String),
    Date(String),
}

impl Validator {
    fn tag(&self) -> Option<String> {
        match self {
            Self::Tag(tag) => Some(tag.clone()),
            Self::Date(_) => None,
        }
    }
}

/// Content of a location that is here already.
struct CachedVersion {
    validator: Validator,
    script: CacheGuard,
}

/// The result of a fetch.
enum Fetched {
    /// The cached version is current.
    Unchanged(CacheGuard),
    New {
        /// The location after redirects.
        location: String,
        content: Vec<u8>,
        validator: Option<Validator>,
    },
}

/// The last content of a location.
#[derive(Debug)]
struct LastContent {
    digest: Digest,
    validator: Validator,
}

/// The fetcher of remote scripts.
pub(crate) struct Sources {
    allowed: Vec<Allowed>,
    https: Https,
    buckets: Buckets,
    cache: Arc<ScriptCache>,
    timeout: Duration,
    fetches: Semaphore,
    last_contents: Mutex<HashMap<String, LastContent>>,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Sources")
            .field("allowed", &self.allowed)
            .finish_non_exhaustive()
    }
}

impl Sources {
    /// Opens the cache and builds the HTTP clients. Must be called inside a tokio runtime.
    pub(crate) fn new(options: SourcesOptions) -> Result<Self, SourcesError> {
        // An error means that the process has a TLS provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let guard = GuardedResolver::new(options.nameserver, AddressPolicy::new(options.networks))
            .map_err(SourcesError::Names)?;
        let authorities = authorities(options.ca_file)?;
        let client = || {
            reqwest::Client::builder()
                .tls_certs_only(authorities.clone())
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .user_agent(USER_AGENT)
                .pool_idle_timeout(IDLE_TIMEOUT)
                .connect_timeout(options.timeout)
        };
        let guarded = client().https_only(true).dns_resolver(guard.clone());
        let cache = ScriptCache::open(&options.folder, options.folder_bytes_max, options.retention)
            .map_err(|cause| SourcesError::Folder {
                folder: options.folder.clone(),
                cause,
            })?;
        let buckets = Buckets::new(
            &client().build()?,
            &options.allowed,
            options.bytes_max,
            options.timeout,
        )?;
        Ok(Self {
            https: Https::new(guarded.build()?, guard, options.bytes_max),
            buckets,
            allowed: options.allowed,
            cache: Arc::new(cache),
            timeout: options.timeout,
            fetches: Semaphore::new(options.fetches_max),
            last_contents: Mutex::default(),
        })
    }

    /// Returns a cache guard for the script that a body references; `None` if the body references none.
    ///
    /// # Errors
    ///
    /// The source is invalid or not allowed, or the script cannot be fetched or stored.
    pub(crate) async fn script_of_body(&self, body: &[u8]) -> Result<Option<CacheGuard>, Problem> {
        let Some(requested) = member::source_of(body)? else {
            return Ok(None);
        };
        if !self
            .allowed
            .iter()
            .any(|allowed| allowed.covers(&requested.location))
        {
            return Err(SourceError::NotAllowed.into());
        }
        if let Some(script) = self.pinned(&requested) {
            return Ok(Some(script));
        }
        let fetched = async {
            // The semaphore is never closed.
            let _permit = self.fetches.acquire().await;
            self.fetch(&requested.location).await
        };
        let script = tokio::time::timeout(self.timeout, fetched)
            .await
            .unwrap_or(Err(SourceError::TimedOut(self.timeout)))?;
        match requested.sha256 {
            Some(sha256) if sha256 != *script.digest() => Err(SourceError::OtherContent {
                expected: to_hex(&sha256),
                found: to_hex(script.digest()),
            }
            .into()),
            _ => Ok(Some(script)),
        }
    }

    /// Removes unused scripts from the cache. Blocks on the file system.
    pub(crate) fn sweep(&self) {
        self.cache.sweep();
    }

    /// Returns the cached script without a query of its host, if the request pins its hash and this location had that
    /// content.
    fn pinned(&self, requested: &RequestedSource) -> Option<CacheGuard> {
        let cached = self.cached(&requested.location.to_string())?;
        (requested.sha256 == Some(*cached.script.digest())).then_some(cached.script)
    }

    async fn fetch(&self, location: &Location) -> Result<CacheGuard, SourceError> {
        let fetched = match location {
            Location::Https(url) => {
                let cached = |location: &str| self.cached(location);
                self.https.fetch(url, &self.allowed, cached).await?
            }
            Location::Object { store, bucket, key } => {
                let location = location.to_string();
                let cached = self.cached(&location);
                let object = (*store, bucket.as_str(), key);
                self.buckets.fetch(location, object, cached).await?
            }
        };
        match fetched {
            Fetched::Unchanged(script) => Ok(script),
            Fetched::New {
                location,
                content,
                validator,
            } => {
                let script = self.store(content).await?;
                if let Some(validator) = validator {
                    self.record(location, *script.digest(), validator);
                }
                Ok(script)
            }
        }
    }

    async fn store(&self, content: Vec<u8>) -> Result<CacheGuard, SourceError> {
        if std::str::from_utf8(&content).is_err() {
            return Err(SourceError::NotText);
        }
        let cache = Arc::clone(&self.cache);
        match spawn_blocking(move || cache.insert(&content)).await {
            Ok(Ok(script)) => Ok(script),
            Ok(Err(CacheError::Full)) => Err(SourceError::Full),
            Ok(Err(CacheError::Io(cause))) => {
                error!(%cause, "a script could not be written to --sources-dir; the request gets a 500. Check the permissions and the free space of the folder");
                Err(SourceError::NotKept)
            }
            Err(cause) => {
                error!(%cause, "the thread that writes a script to --sources-dir failed; the request gets a 500");
                Err(SourceError::NotKept)
            }
        }
    }

    fn record(&self, location: String, digest: Digest, validator: Validator) {
        let mut last_contents = self.last_contents.lock();
        if last_contents.len() >= LOCATIONS_MAX {
            // Clearing costs one more query for each location.
            last_contents.clear();
        }
        last_contents.insert(location, LastContent { digest, validator });
    }

    fn cached(&self, location: &str) -> Option<CachedVersion> {
        let last_contents = self.last_contents.lock();
        let LastContent { digest, validator } = last_contents.get(location)?;
        Some(CachedVersion {
            script: self.cache.get(digest)?,
            validator: validator.clone(),
        })
    }
}

/// Returns the trusted certificate authorities: the built-in public ones, and those of the operator's file.
fn authorities(ca_file: Option<PathBuf>) -> Result<Vec<reqwest::Certificate>, SourcesError> {
    let public = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
    let mut all = public
        .iter()
        .map(|der| reqwest::Certificate::from_der(der))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(path) = ca_file {
        let invalid = |cause: String| SourcesError::CaFile {
            path: path.clone(),
            cause,
        };
        let pem = std::fs::read(&path).map_err(|cause| invalid(cause.to_string()))?;
        let own = reqwest::Certificate::from_pem_bundle(&pem)
            .map_err(|cause| invalid(cause.to_string()))?;
        if own.is_empty() {
            return Err(invalid("there is no certificate in it".to_owned()));
        }
        all.extend(own);
    }
    Ok(all)
}
