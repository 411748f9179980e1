//! Scripts that a request only names: `"source": "https://…"`, `s3://…` or `gs://…`.
//!
//! A script is fetched from where the operator allows (`location`, `address`; `https`, `bucket`), checked, put in the
//! folder that the service reads (`shelf`), and named to the service by its SHA-256 in a header that no client can send.

mod address;
mod bucket;
mod failure;
mod https;
mod location;
mod member;
mod reading;
mod shelf;

pub use location::Allowed;
pub(crate) use shelf::OnShelf;

use crate::hex::{Digest, to_hex};
use crate::problem::Problem;
use actix_web::rt::task::spawn_blocking;
use address::{Guard, Reachable};
use bucket::Buckets;
use failure::Failure;
use https::Https;
use ipnet::IpNet;
use location::Location;
use member::Wanted;
use shelf::{Shelf, ShelfError};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tracing::error;

/// Locations whose last content is remembered.
const REMEMBERED_MAX: usize = 10_000;
/// Longest that an idle connection to a host is kept.
const IDLE_CONNECTION_KEPT: Duration = Duration::from_secs(15);
const USER_AGENT: &str = concat!("sandpiper-ingress/", env!("CARGO_PKG_VERSION"));

/// Where scripts may come from, and how much of it.
#[derive(Debug, Clone)]
pub struct SourcesOptions {
    /// Hosts and buckets.
    pub allowed: Vec<Allowed>,
    /// Networks that are not public and may be reached all the same.
    pub networks: Vec<IpNet>,
    /// Asked for names instead of the machine's name servers.
    pub nameserver: Option<SocketAddr>,
    /// Certificate authorities beside the public ones, as PEM.
    pub ca_file: Option<PathBuf>,
    /// The folder that the service reads.
    pub folder: PathBuf,
    /// Longest script, bytes.
    pub bytes_max: u64,
    /// Longest until a script is here.
    pub timeout: Duration,
    /// Scripts that are on their way at a time.
    pub fetches_max: usize,
    /// All scripts in the folder, bytes.
    pub folder_bytes_max: u64,
    /// How long a script stays that nobody uses.
    pub kept: Duration,
}

/// Why scripts cannot be fetched at all.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// The folder.
    #[error("--sources-dir {folder}: {cause}")]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why not.
        cause: std::io::Error,
    },
    /// The certificates.
    #[error("--source-ca-file {path}: {cause}")]
    CaFile {
        /// Which.
        path: PathBuf,
        /// Why not.
        cause: String,
    },
    /// The name servers.
    #[error("--source-nameserver: {0}")]
    Names(String),
    /// Credentials or endpoints in the environment.
    #[error("--source-allow: the environment's settings of a bucket do not fit: {0}")]
    Bucket(#[from] object_store::Error),
    /// The HTTP client.
    #[error("no HTTPS client: {0}")]
    Client(#[from] reqwest::Error),
}

/// What a host says by which a later answer can be told to be the same.
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
struct Known {
    validator: Validator,
    script: OnShelf,
}

/// What came of asking a host.
enum Fetched {
    /// What is here already is what it would send.
    Unchanged(OnShelf),
    New {
        /// Where it was in the end.
        location: String,
        content: Vec<u8>,
        validator: Option<Validator>,
    },
}

/// The last content of a location.
#[derive(Debug)]
struct Remembered {
    digest: Digest,
    validator: Validator,
}

/// Fetches scripts.
pub(crate) struct Sources {
    allowed: Vec<Allowed>,
    https: Https,
    buckets: Buckets,
    shelf: Arc<Shelf>,
    timeout: Duration,
    fetches: Semaphore,
    remembered: Mutex<HashMap<String, Remembered>>,
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
    /// Must be called where tokio runs.
    pub(crate) fn new(options: SourcesOptions) -> Result<Self, SourcesError> {
        // All of this process's TLS; that another part has chosen already is as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let guard = Guard::new(options.nameserver, Reachable::new(options.networks))
            .map_err(SourcesError::Names)?;
        let authorities = authorities(options.ca_file)?;
        let client = || {
            reqwest::Client::builder()
                .tls_certs_only(authorities.clone())
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .user_agent(USER_AGENT)
                .pool_idle_timeout(IDLE_CONNECTION_KEPT)
                .connect_timeout(options.timeout)
        };
        let guarded = client().https_only(true).dns_resolver(guard.clone());
        let shelf = Shelf::open(&options.folder, options.folder_bytes_max, options.kept).map_err(
            |cause| SourcesError::Folder {
                folder: options.folder.clone(),
                cause,
            },
        )?;
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
            shelf: Arc::new(shelf),
            timeout: options.timeout,
            fetches: Semaphore::new(options.fetches_max),
            remembered: Mutex::default(),
        })
    }

    /// The script that a body names, fetched and on the shelf; `None` where it names none.
    pub(crate) async fn of_body(&self, body: &[u8]) -> Result<Option<OnShelf>, Problem> {
        let Some(wanted) = member::source_of(body)? else {
            return Ok(None);
        };
        if !self
            .allowed
            .iter()
            .any(|allowed| allowed.covers(&wanted.location))
        {
            return Err(Failure::NotAllowed.into());
        }
        if let Some(script) = self.pinned(&wanted) {
            return Ok(Some(script));
        }
        let fetched = async {
            // Its owner is this struct, which never closes it.
            let _permit = self.fetches.acquire().await;
            self.fetch(&wanted.location).await
        };
        let script = tokio::time::timeout(self.timeout, fetched)
            .await
            .unwrap_or(Err(Failure::TimedOut(self.timeout)))?;
        match wanted.sha256 {
            Some(sha256) if sha256 != *script.digest() => Err(Failure::OtherContent {
                wanted: to_hex(&sha256),
                found: to_hex(script.digest()),
            }
            .into()),
            _ => Ok(Some(script)),
        }
    }

    /// Removes what nobody has used for a while. Blocks on the file system.
    pub(crate) fn sweep(&self) {
        self.shelf.sweep();
    }

    /// What a request pins by its hash needs no question, where this location has had that content.
    fn pinned(&self, wanted: &Wanted) -> Option<OnShelf> {
        let known = self.known(&wanted.location.to_string())?;
        (wanted.sha256 == Some(*known.script.digest())).then_some(known.script)
    }

    async fn fetch(&self, location: &Location) -> Result<OnShelf, Failure> {
        let fetched = match location {
            Location::Https(url) => {
                let known = |location: &str| self.known(location);
                self.https.fetch(url, &self.allowed, known).await?
            }
            Location::Object { store, bucket, key } => {
                let location = location.to_string();
                let known = self.known(&location);
                let object = (*store, bucket.as_str(), key);
                self.buckets.fetch(location, object, known).await?
            }
        };
        match fetched {
            Fetched::Unchanged(script) => Ok(script),
            Fetched::New {
                location,
                content,
                validator,
            } => {
                let script = self.keep(content).await?;
                if let Some(validator) = validator {
                    self.remember(location, *script.digest(), validator);
                }
                Ok(script)
            }
        }
    }

    async fn keep(&self, content: Vec<u8>) -> Result<OnShelf, Failure> {
        if std::str::from_utf8(&content).is_err() {
            return Err(Failure::NotText);
        }
        let shelf = Arc::clone(&self.shelf);
        match spawn_blocking(move || shelf.put(&content)).await {
            Ok(Ok(script)) => Ok(script),
            Ok(Err(ShelfError::Full)) => Err(Failure::Full),
            Ok(Err(ShelfError::Io(cause))) => {
                error!(%cause, "a script could not be written to --sources-dir");
                Err(Failure::NotKept)
            }
            Err(cause) => {
                error!(%cause, "a script was not written to --sources-dir");
                Err(Failure::NotKept)
            }
        }
    }

    fn remember(&self, location: String, digest: Digest, validator: Validator) {
        let mut remembered = self.remembered();
        if remembered.len() >= REMEMBERED_MAX {
            // They are asked for again; a bound is worth more than the rare question.
            remembered.clear();
        }
        remembered.insert(location, Remembered { digest, validator });
    }

    fn known(&self, location: &str) -> Option<Known> {
        let remembered = self.remembered();
        let Remembered { digest, validator } = remembered.get(location)?;
        Some(Known {
            script: self.shelf.take(digest)?,
            validator: validator.clone(),
        })
    }

    fn remembered(&self) -> MutexGuard<'_, HashMap<String, Remembered>> {
        // Nothing under the lock leaves it half done.
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom certificates are believed from: the public authorities, which are built in, and the operator's.
fn authorities(ca_file: Option<PathBuf>) -> Result<Vec<reqwest::Certificate>, SourcesError> {
    let public = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
    let mut all = public
        .iter()
        .map(|der| reqwest::Certificate::from_der(der))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(path) = ca_file {
        let unfit = |cause: String| SourcesError::CaFile {
            path: path.clone(),
            cause,
        };
        let pem = std::fs::read(&path).map_err(|cause| unfit(cause.to_string()))?;
        let own = reqwest::Certificate::from_pem_bundle(&pem)
            .map_err(|cause| unfit(cause.to_string()))?;
        if own.is_empty() {
            return Err(unfit("there is no certificate in it".to_owned()));
        }
        all.extend(own);
    }
    Ok(all)
}
