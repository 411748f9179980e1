//! Scripts in buckets of S3, Google Cloud Storage and compatible stores.
//!
//! The operator sets endpoint, region and credentials, by the environment variables of the tools of AWS (`AWS_…`) and
//! of Google (`GOOGLE_…`). A client chooses only a key in an allowed bucket.

use super::error::SourceError;
use super::location::{Allowed, Store};
use super::{CachedVersion, Fetched, Validator};
use futures_util::StreamExt as _;
use object_store::aws::AmazonS3Builder;
use object_store::client::{HttpClient, HttpConnector};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{ClientOptions, Error, GetOptions, ObjectStore, RetryConfig};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Retries after the first attempt, within the deadline of the fetch.
const RETRIES: usize = 1;

/// The allowed buckets.
pub(super) struct Buckets {
    stores: HashMap<(Store, String), Arc<dyn ObjectStore>>,
    bytes_max: u64,
}

/// The HTTP client of all buckets, with its certificate authorities.
#[derive(Debug)]
struct SharedClient(reqwest::Client);

impl HttpConnector for SharedClient {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

impl Buckets {
    pub(super) fn new(
        client: &reqwest::Client,
        allowed: &[Allowed],
        bytes_max: u64,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let retry = RetryConfig {
            max_retries: RETRIES,
            retry_timeout: timeout,
            ..RetryConfig::default()
        };
        let mut stores: HashMap<_, Arc<dyn ObjectStore>> = HashMap::new();
        for allowed in allowed {
            if let Some(bucket) = allowed.bucket_of(Store::S3) {
                let s3 = AmazonS3Builder::from_env()
                    .with_bucket_name(bucket)
                    .with_retry(retry.clone())
                    .with_http_connector(SharedClient(client.clone()))
                    .build()?;
                stores.insert((Store::S3, bucket.to_owned()), Arc::new(s3));
            }
            if let Some(bucket) = allowed.bucket_of(Store::Gcs) {
                let gcs = GoogleCloudStorageBuilder::from_env()
                    .with_bucket_name(bucket)
                    .with_retry(retry.clone())
                    .with_http_connector(SharedClient(client.clone()))
                    .build()?;
                stores.insert((Store::Gcs, bucket.to_owned()), Arc::new(gcs));
            }
        }
        Ok(Self { stores, bytes_max })
    }

    /// Fetches an object. `location` is the text of `store`, `bucket` and `key`; `cached` is the cached version, if
    /// there is one.
    pub(super) async fn fetch(
        &self,
        location: String,
        (store, bucket, key): (Store, &str, &Path),
        cached: Option<CachedVersion>,
    ) -> Result<Fetched, SourceError> {
        let of_store = (store, bucket.to_owned());
        let objects = self.stores.get(&of_store).ok_or(SourceError::NotAllowed)?;
        let options = GetOptions {
            if_none_match: cached.as_ref().and_then(|cached| cached.validator.tag()),
            ..GetOptions::default()
        };
        let found = match (objects.get_opts(key, options).await, cached) {
            (Ok(found), _) => found,
            (Err(Error::NotModified { .. }), Some(cached)) => {
                return Ok(Fetched::Unchanged(cached.script));
            }
            (Err(error), _) => return Err(source_error(&error)),
        };
        let too_large = SourceError::TooLarge(self.bytes_max);
        if found.meta.size > self.bytes_max {
            return Err(too_large);
        }
        let validator = found.meta.e_tag.clone().map(Validator::Tag);
        let most = usize::try_from(self.bytes_max).unwrap_or(usize::MAX);
        let mut content = Vec::new();
        let mut chunks = found.into_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| source_error(&error))?;
            if content.len() + chunk.len() > most {
                return Err(too_large);
            }
            content.extend_from_slice(&chunk);
        }
        Ok(Fetched::New {
            location,
            content,
            validator,
        })
    }
}

fn source_error(error: &Error) -> SourceError {
    match error {
        Error::NotFound { .. } => SourceError::NotFound,
        Error::PermissionDenied { .. } => SourceError::Refused(403),
        Error::Unauthenticated { .. } => SourceError::Refused(401),
        _ => {
            // Clients are not told which credentials or endpoint fail.
            tracing::warn!(%error, "a script could not be read from its bucket; the client gets `source_unavailable`. Check the endpoint and the credentials in the environment");
            SourceError::Unreachable
        }
    }
}
