//! The layout of the sandbox program in memory.

fn main() {
    // Each segment of the program begins at a multiple of two megabytes, so that a zygote can put it on huge pages
    // (src/huge_pages.rs). This costs address space, not file size.
    println!("cargo::rustc-link-arg-bins=-Wl,-z,max-page-size=2097152");
    println!("cargo::rerun-if-changed=build.rs");
}
