//! The options of `key`.

use super::ServiceAddress;
use super::values::{expiry, or_none, overlap, requests, text_for_people};
use crate::keys::commands::{KeyChange, NewKey, Rotation, Setting, Subject};
use crate::keys::{BudgetChange, KeyId, Scope, TenantName};
use crate::limits::Quota;
use crate::timestamp::Timestamp;
use clap::{Args, Subcommand, value_parser};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Maximum length of a key's name, characters.
const NAME_CHARS_MAX: usize = 200;
/// Maximum length of a note, characters.
const NOTE_CHARS_MAX: usize = 1000;

/// The subcommands of `key`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Create a key, add it to the file, and print it; the key cannot be shown again
    New(NewKeyOptions),
    /// List the keys of the file and their tenants
    List(ListKeysOptions),
    /// Show one key of the file
    Show(ShowKeyOptions),
    /// Change the scopes, the quotas, the expiry, the note or the name of a key; its secret stays
    Set(SetKeyOptions),
    /// Give a key a new secret, and print the key; it cannot be shown again
    Rotate(RotateKeyOptions),
    /// Remove a key, or all keys of a tenant; open requests with them end
    Revoke(RevokeKeyOptions),
    /// Move a key to a tenant
    Assign(AssignKeyOptions),
    /// Change the budgets of a key, or of a tenant
    Budget(BudgetOptions),
}

/// The option that every subcommand of `key` has.
#[derive(Debug, Args)]
pub struct KeysFileOption {
    /// The keys file; `key new` creates it if it is missing
    #[arg(
        long,
        env = "SANDPIPER_INGRESS_KEYS_FILE",
        value_name = "FILE",
        default_value = "keys.json"
    )]
    pub keys_file: PathBuf,
}

/// The option of the subcommands that show the last use of keys.
#[derive(Debug, Args)]
pub struct KeyUsesOption {
    /// File in which ingresses write the times of last use, as given to `serve`; a file beside the keys file when absent
    #[arg(long, env = "SANDPIPER_INGRESS_KEY_USES_FILE", value_name = "FILE")]
    key_uses_file: Option<PathBuf>,
}

impl KeyUsesOption {
    pub fn path(&self) -> Option<&Path> {
        self.key_uses_file.as_deref()
    }
}

/// The options of `key new`.
#[derive(Debug, Args)]
pub struct NewKeyOptions {
    /// The keys file.
    #[command(flatten)]
    pub file: KeysFileOption,
    /// Name of the key's holder, for people who read the file
    #[arg(long, value_name = "TEXT", value_parser = text_for_people(NAME_CHARS_MAX))]
    name: String,
    /// Tenant that the key belongs to; without it the key is a tenant of its own
    #[arg(long, value_name = "NAME")]
    tenant: Option<TenantName>,
    /// Scopes of the key
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "execute,jobs,read"
    )]
    scopes: Vec<Scope>,
    /// Time from which on the key is not valid, such as 2027-01-31T00:00:00Z, or a duration from now, such as 90d
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    expires: Option<Timestamp>,
    /// Rate limit of the key for running code, such as 20/s:40
    #[arg(long, value_name = "QUOTA")]
    run_quota: Option<Quota>,
    /// Rate limit of the key for every other request
    #[arg(long, value_name = "QUOTA")]
    read_quota: Option<Quota>,
    /// Maximum open requests of the key
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u32).range(1..))]
    requests_max: Option<u32>,
    /// Budget of the key, such as day:executions=1000 or month:cpuSeconds=3600; may be repeated
    #[arg(long = "budget", value_name = "BUDGET", value_delimiter = ',')]
    budgets: Vec<BudgetChange>,
    /// Remark, for people who read the file
    #[arg(long, value_name = "TEXT", value_parser = text_for_people(NOTE_CHARS_MAX))]
    note: Option<String>,
}

impl NewKeyOptions {
    pub fn new_key(&self) -> NewKey {
        NewKey {
            name: self.name.clone(),
            tenant: self.tenant.clone(),
            scopes: self.scopes.clone(),
            expires: self.expires,
            run_quota: self.run_quota,
            read_quota: self.read_quota,
            requests_max: self.requests_max,
            budgets: self.budgets.clone(),
            note: self.note.clone(),
        }
    }
}

/// The options of `key list`.
#[derive(Debug, Args)]
pub struct ListKeysOptions {
    /// The keys file.
    #[command(flatten)]
    pub file: KeysFileOption,
    /// The file of last uses.
    #[command(flatten)]
    pub uses: KeyUsesOption,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The options of `key show`.
#[derive(Debug, Args)]
pub struct ShowKeyOptions {
    /// The keys file.
    #[command(flatten)]
    pub file: KeysFileOption,
    /// The file of last uses.
    #[command(flatten)]
    pub uses: KeyUsesOption,
    /// Id of the key: the 16 digits after `sp_`
    pub id: KeyId,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The options of `key set`.
#[derive(Debug, Args)]
pub struct SetKeyOptions {
    /// The keys file.
    #[command(flatten)]
    pub file: KeysFileOption,
    /// The file of last uses.
    #[command(flatten)]
    pub uses: KeyUsesOption,
    /// Id of the key: the 16 digits after `sp_`
    pub id: KeyId,
    /// The parts to change.
    #[command(flatten)]
    change: KeyChangeOptions,
}

/// The parts of a key that `key set` changes, at least one.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct KeyChangeOptions {
    /// Name of the key's holder, for people who read the file
    #[arg(long, value_name = "TEXT", value_parser = text_for_people(NAME_CHARS_MAX))]
    name: Option<String>,
    /// All scopes of the key from now on
    #[arg(long, value_enum, value_delimiter = ',')]
    scopes: Vec<Scope>,
    /// Time from which on the key is not valid, as for `key new`, or none
    #[arg(long, value_name = "TIME", value_parser = or_none(expiry))]
    expires: Option<Setting<Timestamp>>,
    /// Rate limit of the key for running code, such as 20/s:40, or none for that of clients without a key
    #[arg(long, value_name = "QUOTA", value_parser = or_none(str::parse::<Quota>))]
    run_quota: Option<Setting<Quota>>,
    /// Rate limit of the key for every other request, or none for that of clients without a key
    #[arg(long, value_name = "QUOTA", value_parser = or_none(str::parse::<Quota>))]
    read_quota: Option<Setting<Quota>>,
    /// Maximum open requests of the key, or none for that of clients without a key
    #[arg(long, value_name = "COUNT", value_parser = or_none(requests))]
    requests_max: Option<Setting<u32>>,
    /// Remark, for people who read the file, or none
    #[arg(long, value_name = "TEXT", value_parser = or_none(text_for_people(NOTE_CHARS_MAX)))]
    note: Option<Setting<String>>,
}

impl SetKeyOptions {
    pub fn change(&self) -> KeyChange {
        let change = &self.change;
        KeyChange {
            name: change.name.clone(),
            scopes: (!change.scopes.is_empty()).then(|| change.scopes.clone()),
            expires: change.expires.clone(),
            run_quota: change.run_quota.clone(),
            read_quota: change.read_quota.clone(),
            requests_max: change.requests_max.clone(),
            note: change.note.clone(),
        }
    }
}

/// The options of `key rotate`.
#[derive(Debug, Args)]
pub struct RotateKeyOptions {
    /// The keys file.
    #[command(flatten)]
    pub file: KeysFileOption,
    /// Id of the key: the 16 digits after `sp_`
    pub id: KeyId,
    /// Time for which the old secret stays valid, such as 1h; without it the old secret ends at once
    #[arg(long, value_name = "DURATION", value_parser = overlap)]
    overlap: Option<Duration>,
    /// New time from which on the key is not valid, as for `key new`; unchanged when absent
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    expires: Option<Timestamp>,
}

impl RotateKeyOptions {
    pub fn rotation(&self) -> Rotation {
        Rotation {
            overlap: self.overlap,
            expires: self.expires,
        }
    }
}

/// The keys that a command is about: one, or those of a tenant.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct SubjectOptions {
    /// Id of a key: the 16 digits after `sp_`
    id: Option<KeyId>,
    /// Name of a tenant, for all of its keys together
    #[arg(long, value_name = "NAME")]
    tenant: Option<TenantName>,
}

impl SubjectOptions {
    /// Returns the subject; `None` if neither an id nor a tenant is given, which the parser refuses.
    pub fn subject(&self) -> Option<Subject> {
        let key = self.id.map(Subject::Key);
        key.or_else(|| self.tenant.clone().map(Subject::Tenant))
    }
}

/// The options of `key revoke`.
#[derive(Debug, Args)]
pub struct RevokeKeyOptions {
    /// The keys file.
    #[command(flatten)]
    pub file: KeysFileOption,
    /// The keys to remove.
    #[command(flatten)]
    pub subject: SubjectOptions,
    /// Have the service delete the tenant's jobs, results and usage too
    #[arg(long, conflicts_with = "id")]
    pub purge: bool,
    /// The service that deletes.
    #[command(flatten)]
    pub service: ServiceAddress,
}

/// The options of `key assign`.
#[derive(Debug, Args)]
pub struct AssignKeyOptions {
    /// The keys file.
    #[command(flatten)]
    pub file: KeysFileOption,
    /// Id of the key: the 16 digits after `sp_`
    pub id: KeyId,
    /// Tenant that the key belongs to from now on
    #[arg(long, value_name = "NAME")]
    pub tenant: TenantName,
    /// The service that moves the jobs of the key.
    #[command(flatten)]
    pub service: ServiceAddress,
}

/// The options of `key budget`.
#[derive(Debug, Args)]
pub struct BudgetOptions {
    /// The keys file.
    #[command(flatten)]
    pub file: KeysFileOption,
    /// The key or the tenant.
    #[command(flatten)]
    pub subject: SubjectOptions,
    /// Budget to set, such as day:executions=1000, or to remove, as day:executions=none; may be repeated
    #[arg(
        long = "set",
        value_name = "BUDGET",
        value_delimiter = ',',
        required = true
    )]
    pub changes: Vec<BudgetChange>,
}
