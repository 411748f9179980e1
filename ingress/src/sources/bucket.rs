//! Scripts in buckets of S3 and Google Cloud Storage, and of whatever speaks like them.
//!
//! Endpoint, region and credentials are the operator's: they come from the environment variables that the tools of AWS
//! (`AWS_…`) and of Google (`GOOGLE_…`) take. A client chooses a key in a bucket that is listed, and nothing else.

use super::failure::Failure;
use super::location::{Allowed, Store};
use super::{Fetched, Known, Validator};
use futures_util::StreamExt as _;
use object_store::aws::AmazonS3Builder;
use object_store::client::{HttpClient, HttpConnector};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{ClientOptions, Error, GetOptions, ObjectStore, RetryConfig};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Tries after the first, within the deadline that holds for everything.
const RETRIES: usize = 1;

/// The buckets that are listed.
pub(super) struct Buckets {
    stores: HashMap<(Store, String), Arc<dyn ObjectStore>>,
    bytes_max: u64,
}

/// One HTTP client for all buckets, with the certificates that it has.
#[derive(Debug)]
struct Shared(reqwest::Client);

impl HttpConnector for Shared {
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
            if let Some(bucket) = allowed.is_bucket_of(Store::S3) {
                let s3 = AmazonS3Builder::from_env()
                    .with_bucket_name(bucket)
                    .with_retry(retry.clone())
                    .with_http_connector(Shared(client.clone()))
                    .build()?;
                stores.insert((Store::S3, bucket.to_owned()), Arc::new(s3));
            }
            if let Some(bucket) = allowed.is_bucket_of(Store::Gcs) {
                let gcs = GoogleCloudStorageBuilder::from_env()
                    .with_bucket_name(bucket)
                    .with_retry(retry.clone())
                    .with_http_connector(Shared(client.clone()))
                    .build()?;
                stores.insert((Store::Gcs, bucket.to_owned()), Arc::new(gcs));
            }
        }
        Ok(Self { stores, bytes_max })
    }

    /// `location` is what `store`, `bucket` and `key` say; `known` is its content that is here already.
    pub(super) async fn fetch(
        &self,
        location: String,
        (store, bucket, key): (Store, &str, &Path),
        known: Option<Known>,
    ) -> Result<Fetched, Failure> {
        let of_store = (store, bucket.to_owned());
        let objects = self.stores.get(&of_store).ok_or(Failure::NotAllowed)?;
        let options = GetOptions {
            if_none_match: known.as_ref().and_then(|known| known.validator.tag()),
            ..GetOptions::default()
        };
        let found = match (objects.get_opts(key, options).await, known) {
            (Ok(found), _) => found,
            (Err(Error::NotModified { .. }), Some(known)) => {
                return Ok(Fetched::Unchanged(known.script));
            }
            (Err(error), _) => return Err(failure_of(&error)),
        };
        let too_large = Failure::TooLarge(self.bytes_max);
        if found.meta.size > self.bytes_max {
            return Err(too_large);
        }
        let validator = found.meta.e_tag.clone().map(Validator::Tag);
        let most = usize::try_from(self.bytes_max).unwrap_or(usize::MAX);
        let mut content = Vec::new();
        let mut chunks = found.into_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| failure_of(&error))?;
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

fn failure_of(error: &Error) -> Failure {
    match error {
        Error::NotFound { .. } => Failure::NotFound,
        Error::PermissionDenied { .. } => Failure::Refused(403),
        Error::Unauthenticated { .. } => Failure::Refused(401),
        _ => {
            // Which credentials or which endpoint do not work is for the operator alone.
            tracing::warn!(%error, "a script could not be read from its bucket");
            Failure::Unreachable
        }
    }
}
