//! The layout of the sandbox program in memory.

fn main() {
    // Each part of the program begins in two megabytes of its own, so that a zygote can put it on huge pages (src/text.rs).
    // Costs address space, not file size.
    println!("cargo::rustc-link-arg-bins=-Wl,-z,max-page-size=2097152");
    println!("cargo::rerun-if-changed=build.rs");
}
