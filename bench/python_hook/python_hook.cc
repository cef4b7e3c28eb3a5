// SPDX-License-Identifier: MPL-2.0
//
// The obvious way to have Python look at Kea's packets: call it for each of them, in the thread that received it. Ours
// does not (hook/callouts.cc looks in C++ and queues); B3 measures what that saves.

#include <Python.h>  // first, as Python wants it

#include <dhcp/pkt4.h>
#include <hooks/hooks.h>

#include <string>

using isc::hooks::CalloutHandle;

namespace {

PyObject* receive = nullptr;  // the function; it stays as long as the process

/// Take the GIL for a while, from whatever thread.
class Gil {
  public:
    Gil() : state_(PyGILState_Ensure()) {}
    ~Gil() { PyGILState_Release(state_); }
    Gil(const Gil&) = delete;
    Gil& operator=(const Gil&) = delete;

  private:
    PyGILState_STATE state_;
};

/// Run a Python text and return the function `receive` that it defines; null where it fails.
PyObject* functionOf(const std::string& text) {
    PyObject* names = PyDict_New();
    PyDict_SetItemString(names, "__builtins__", PyEval_GetBuiltins());
    PyObject* done = PyRun_String(text.c_str(), Py_file_input, names, names);
    if (!done) {
        PyErr_Print();
        return nullptr;
    }
    Py_DECREF(done);
    PyObject* function = PyDict_GetItemString(names, "receive");
    Py_XINCREF(function);
    return function;
}

/// The parameter `code`, a Python text.
std::string codeOf(isc::hooks::LibraryHandle& handle) {
    const auto code = handle.getParameter("code");
    return code && code->getType() == isc::data::Element::string ? code->stringValue() : std::string();
}

}  // namespace

extern "C" {

int version() {
    return KEA_HOOKS_VERSION;
}

int multi_threading_compatible() {
    return 1;
}

int load(isc::hooks::LibraryHandle& handle) {
    if (!Py_IsInitialized()) {
        Py_InitializeEx(0);
        PyEval_SaveThread();
    }
    const Gil gil;
    receive = functionOf(codeOf(handle));
    return receive ? 0 : 1;
}

int unload() {
    return 0;
}

int buffer4_receive(CalloutHandle& handle) {
    isc::dhcp::Pkt4Ptr query;
    handle.getArgument("query4", query);
    const Gil gil;
    PyObject* data = PyBytes_FromStringAndSize(reinterpret_cast<const char*>(query->data_.data()),
                                               static_cast<Py_ssize_t>(query->data_.size()));
    PyObject* found = data ? PyObject_CallOneArg(receive, data) : nullptr;
    Py_XDECREF(data);
    if (!found) {
        PyErr_Print();
        return 1;
    }
    if (PyObject_IsTrue(found)) {
        handle.setStatus(CalloutHandle::NEXT_STEP_DROP);
    }
    Py_DECREF(found);
    return 0;
}

}  // extern "C"
