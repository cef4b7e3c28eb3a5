// SPDX-License-Identifier: MPL-2.0
// Python inside kea-dhcp4: started once per process, never finalized, and without a hand on Kea's signals, locale or
// streams.
#ifndef SUBNET_DELEG_INTERPRETER_H
#define SUBNET_DELEG_INTERPRETER_H

#include <string>

namespace subnet_deleg {

/// Start Python if it does not run yet and make sure that it finds our package. Main thread only; may be called again.
///
/// @param python_path the directory to look for packages in; empty: the site-packages that this library is installed in
/// @return empty, or what went wrong, for the log
std::string startInterpreter(const std::string& python_path);

}  // namespace subnet_deleg

#endif  // SUBNET_DELEG_INTERPRETER_H
