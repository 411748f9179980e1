//! Example scripts for tests, to be run with `file`.

use std::path::PathBuf;

/// Returns a folder of scripts for `--scripts-dir`. `name` is unique to the test, because tests run at the same time.
pub(crate) fn scripts_dir(name: &str, scripts: &[(&str, &str)]) -> String {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    for (file_name, text) in scripts {
        // The first line of every example script is its expected result.
        let text = format!("// expect: anything\n{text}");
        std::fs::write(folder.join(file_name), text).unwrap();
    }
    folder.to_str().unwrap().to_owned()
}
