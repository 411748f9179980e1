//! How the binary is laid out in memory.

fn main() {
    // Each part of the program begins in two megabytes of its own, so that a zygote can put it on huge pages
    // (src/sandbox/text.rs). Costs address space, not file size.
    println!("cargo::rustc-link-arg=-Wl,-z,max-page-size=2097152");
    // What job processes run of it lies together.
    println!(concat!(
        "cargo::rustc-link-arg=-Wl,-T,",
        env!("CARGO_MANIFEST_DIR"),
        "/src/sandbox/text.ld"
    ));
    println!("cargo::rerun-if-changed=src/sandbox/text.ld");
    println!("cargo::rerun-if-changed=build.rs");
}
