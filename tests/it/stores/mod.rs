//! Stores for tests, and promises that every kind of store must keep.

mod postgres;

pub(crate) use postgres::Postgres;

use crate::support::Service;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A folder that is removed with its test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let path =
            std::env::temp_dir().join(format!("sandpiper-it-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).into_os_string().into_string().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A store of one of the kinds.
pub(crate) enum Store {
    Memory,
    Sqlite(Folder),
    Postgres(String),
}

impl Store {
    /// Starts a service on the store, with additional options.
    pub(crate) fn serve(&self, options: &[&str]) -> Service {
        let store = match self {
            Self::Memory => "memory".to_owned(),
            Self::Sqlite(folder) => format!("sqlite:{}", folder.text("jobs.db")),
            Self::Postgres(url) => url.clone(),
        };
        Service::start_with(&[&["--store", &store], options].concat())
    }

    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(Folder::new())
    }

    pub(crate) fn postgres() -> Self {
        Self::Postgres(Postgres::shared_database())
    }
}

/// Makes a test over each kind of store from every named promise, a `fn(&Store)`.
macro_rules! over_every_store {
    ($($promise:ident),+ $(,)?) => {
        mod memory {
            $(#[test] fn $promise() { super::$promise(&$crate::stores::Store::Memory); })+
        }
        mod sqlite {
            $(#[test] fn $promise() { super::$promise(&$crate::stores::Store::sqlite()); })+
        }
        mod postgres {
            $(#[test] fn $promise() { super::$promise(&$crate::stores::Store::postgres()); })+
        }
    };
}
pub(crate) use over_every_store;
