//! Links the standalone binary and the tests against the interpreter that PyO3 was configured for, so that they do
//! not pick up another libpython at run time, and tells the binary where that interpreter lives.

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
    pyo3_build_config::add_libpython_rpath_link_args();
    let config = pyo3_build_config::get();
    println!("cargo::rustc-env=PLUGINCORE_PYTHON_VERSION={}.{}", config.version().major, config.version().minor);
    println!("cargo::rustc-env=PLUGINCORE_PYTHON={}", config.executable().unwrap_or_default());
}
