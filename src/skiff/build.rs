//! Identical functions are kept once: the typed views of Kubernetes' kinds have thousands of them.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // rustc's own linker on this target is lld, which knows it; debug builds are not worth its time
    let lld = std::env::var("TARGET").is_ok_and(|t| t == "x86_64-unknown-linux-gnu");
    if lld && std::env::var("PROFILE").is_ok_and(|p| p == "release") {
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
    }
}
