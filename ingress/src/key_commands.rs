//! The command `key`: one function for each subcommand. A result goes to standard output, a remark to standard error.

use crate::config::{
    AssignKeyOptions, BudgetOptions, KeyCommand, ListKeysOptions, NewKeyOptions, RevokeKeyOptions,
    RotateKeyOptions, SetKeyOptions, ShowKeyOptions, SubjectOptions,
};
use crate::keys::commands::{self as keys, Subject};
use crate::keys::{KeyFileError, TenantName};
use crate::tenant_changes::{assign_jobs, purge};
use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write as _};

type CommandResult = Result<(), Box<dyn Error>>;

/// Time within which an ingress has read a change of the keys file.
const READ_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Runs a subcommand of `key`.
pub fn run(command: &KeyCommand) -> CommandResult {
    match command {
        KeyCommand::New(options) => create(options),
        KeyCommand::List(options) => list(options),
        KeyCommand::Show(options) => show(options),
        KeyCommand::Set(options) => set(options),
        KeyCommand::Rotate(options) => rotate(options),
        KeyCommand::Revoke(options) => revoke(options),
        KeyCommand::Assign(options) => assign(options),
        KeyCommand::Budget(options) => budget(options),
    }
}

fn create(options: &NewKeyOptions) -> CommandResult {
    let path = &options.file.keys_file;
    let key = keys::create(path, options.new_key())?;
    print(&key)?;
    remark(format_args!(
        "added to {}; this is the only time that the key is shown",
        path.display()
    ))
}

fn list(options: &ListKeysOptions) -> CommandResult {
    let (list, failure) = keys::list(&options.file.keys_file, options.uses.path())?;
    print(if options.json {
        serde_json::to_string_pretty(&list)?
    } else {
        list.to_text()
    })?;
    remark_on_uses(failure)
}

fn show(options: &ShowKeyOptions) -> CommandResult {
    let (key, failure) = keys::show(&options.file.keys_file, options.uses.path(), options.id)?;
    print(if options.json {
        serde_json::to_string_pretty(&key)?
    } else {
        key.to_text()
    })?;
    remark_on_uses(failure)
}

fn set(options: &SetKeyOptions) -> CommandResult {
    let path = &options.file.keys_file;
    keys::change(path, options.id, options.change())?;
    let (key, failure) = keys::show(path, options.uses.path(), options.id)?;
    print(key.to_text())?;
    remark_on_uses(failure)
}

fn rotate(options: &RotateKeyOptions) -> CommandResult {
    let rotated = keys::rotate(&options.file.keys_file, options.id, options.rotation())?;
    print(&rotated.key)?;
    match rotated.old_until {
        Some(until) => remark(format_args!(
            "this is the only time that the key is shown; the old secret is valid until {until}"
        )),
        None => remark(
            "this is the only time that the key is shown; the old secret is not valid any more",
        ),
    }
}

fn revoke(options: &RevokeKeyOptions) -> CommandResult {
    let subject = subject(&options.subject)?;
    let revoked = match (keys::revoke(&options.file.keys_file, &subject), &subject) {
        // An earlier command may have revoked the keys and not reached the service.
        (Err(KeyFileError::UnknownTenant { .. }), Subject::Tenant(tenant)) if options.purge => {
            remark(format_args!("no key has the tenant {tenant}"))?;
            return purge_tenant(options, tenant);
        }
        (revoked, _) => revoked?,
    };
    for key in &revoked {
        remark(format_args!("revoked {} ({})", key.id, key.name))?;
    }
    if revoked.is_empty() {
        remark("the tenant had no keys; its budgets were removed")?;
    }
    match &subject {
        Subject::Tenant(tenant) if options.purge => {
            // An ingress accepts the keys until it has read the file.
            std::thread::sleep(READ_WITHIN);
            purge_tenant(options, tenant)
        }
        Subject::Tenant(_) | Subject::Key(_) => Ok(()),
    }
}

/// Has the service delete the data of a tenant whose keys are revoked.
fn purge_tenant(options: &RevokeKeyOptions, tenant: &TenantName) -> CommandResult {
    match purge(&options.service.authority()?, &tenant.to_string()) {
        Ok(report) => print(report),
        Err(reason) => Err(format!(
            "the keys of {tenant} are revoked, and its data is still stored: {reason}; repeat this command, or run \
             `sandpiper tenants purge {tenant}` where the service runs"
        )
        .into()),
    }
}

fn assign(options: &AssignKeyOptions) -> CommandResult {
    let AssignKeyOptions {
        file, id, tenant, ..
    } = options;
    let from = keys::assign(&file.keys_file, *id, tenant)?;
    if from == tenant.to_string() {
        return remark(format_args!("{id} belongs to {tenant} already"));
    }
    remark(format_args!(
        "{id} belongs to {tenant} from now on; open requests with this key end"
    ))?;
    let service = options.service.authority()?;
    // What the ingress accepts before it has read the file belongs to the tenant before, and must be moved too.
    std::thread::sleep(READ_WITHIN);
    match assign_jobs(&service, *id, &from, &tenant.to_string()) {
        Ok(report) => print(report),
        Err(reason) => Err(format!(
            "the jobs of this key still belong to {from}: {reason}; move them with \
             `sandpiper tenants assign {id} --from {from} --to {tenant}` where the service runs"
        )
        .into()),
    }
}

fn budget(options: &BudgetOptions) -> CommandResult {
    let subject = subject(&options.subject)?;
    let budgets = keys::change_budgets(&options.file.keys_file, &subject, &options.changes)?;
    if budgets.is_empty() {
        return remark("there is no budget any more");
    }
    print(budgets)
}

fn subject(options: &SubjectOptions) -> Result<Subject, Box<dyn Error>> {
    let subject = options.subject();
    subject.ok_or_else(|| "give the id of a key, or --tenant".into())
}

fn print(text: impl Display) -> CommandResult {
    let text = text.to_string();
    writeln!(io::stdout(), "{}", text.trim_end())?;
    Ok(())
}

fn remark(text: impl Display) -> CommandResult {
    writeln!(io::stderr(), "{text}")?;
    Ok(())
}

fn remark_on_uses(failure: Option<KeyFileError>) -> CommandResult {
    match failure {
        None => Ok(()),
        Some(failure) => remark(format_args!(
            "the times of last use cannot be read: {failure}"
        )),
    }
}
