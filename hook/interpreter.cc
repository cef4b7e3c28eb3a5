// SPDX-License-Identifier: MPL-2.0
#include <Python.h>  // first, as Python wants it

#include "interpreter.h"

#include <dlfcn.h>

#include <filesystem>

#include "embedded_sources.h"

namespace subnet_deleg {
namespace {

/// The real path of the shared object that holds an address.
std::filesystem::path objectOf(const void* address) {
    Dl_info info;
    if (!dladdr(address, &info) || !info.dli_fname) {
        return {};
    }
    return std::filesystem::canonical(info.dli_fname);
}

/// Kea opens hooks RTLD_LOCAL, and libpython with them; Python's extension modules need its symbols in the global
/// scope.
std::string promoteLibpython() {
    const std::filesystem::path libpython = objectOf(reinterpret_cast<const void*>(&Py_IsInitialized));
    if (!dlopen(libpython.c_str(), RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD)) {
        return "can't make the symbols of " + libpython.string() + " global: " + dlerror();
    }
    return {};
}

/// The site-packages that we are installed in: the library is at kea_subnet_deleg/_hook/NAME.so below it.
std::string ownSitePackages() {
    static const char anchor = 0;
    return objectOf(&anchor).parent_path().parent_path().parent_path().string();
}

/// Initialize Python as an embedded one: no signal handlers, no change of locale, no environment variables, no command
/// line. Text is UTF-8 whatever locale Kea was started in. `site` waits for bootstrap.py, which knows whether this is a
/// virtual environment.
std::string initialize() {
    PyPreConfig before;
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1;
    PyStatus status = Py_PreInitialize(&before);
    if (PyStatus_Exception(status)) {
        return status.err_msg ? status.err_msg : "Py_PreInitialize";
    }
    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config.install_signal_handlers = 0;
    config.site_import = 0;
    // Without a home Python would look for itself along PATH and might find another one's library.
    status = PyConfig_SetBytesString(&config, &config.home, SUBNET_DELEG_PYTHON_HOME);
    if (!PyStatus_Exception(status)) {
        status = Py_InitializeFromConfig(&config);
    }
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status)) {
        return status.err_msg ? status.err_msg : "Py_InitializeFromConfig";
    }
    PyEval_SaveThread();  // from now on everyone takes the GIL by PyGILState_Ensure
    return {};
}

/// The text of what `prepare` in bootstrap.py returns, or of the exception that is set.
std::string textOf(PyObject* result) {
    std::string text = "bootstrap.py failed";
    if (!result) {
        PyErr_Print();  // to Kea's stderr; bootstrap.py catches what can be expected
    } else if (const char* bytes = PyUnicode_AsUTF8(result)) {
        text = bytes;
    }
    Py_XDECREF(result);
    return text;
}

/// Run `prepare(site_packages)` of bootstrap.py.
std::string bootstrap(const std::string& site_packages) {
    const PyGILState_STATE state = PyGILState_Ensure();
    PyObject* result = nullptr;
    PyObject* module = nullptr;
    if (PyObject* code = Py_CompileString(EmbeddedBootstrap, "<kea-subnet-deleg bootstrap.py>", Py_file_input)) {
        module = PyImport_ExecCodeModule("_kea_subnet_deleg_bootstrap", code);
        Py_DECREF(code);
    }
    if (module) {
        result = PyObject_CallMethod(module, "prepare", "s", site_packages.c_str());
        Py_DECREF(module);
    }
    const std::string text = textOf(result);
    PyGILState_Release(state);
    return text;
}

}  // namespace

std::string startInterpreter(const std::string& python_path) {
    if (!Py_IsInitialized()) {
        std::string failure = promoteLibpython();
        if (failure.empty()) {
            failure = initialize();
        }
        if (!failure.empty()) {
            return failure;
        }
    }
    return bootstrap(python_path.empty() ? ownSitePackages() : python_path);
}

}  // namespace subnet_deleg
