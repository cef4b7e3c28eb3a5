// SPDX-License-Identifier: MPL-2.0
#ifndef SUBNET_DELEG_SIGNALS_H
#define SUBNET_DELEG_SIGNALS_H

#include <signal.h>

namespace subnet_deleg {

/// Threads inherit the signal mask of their creator: with everything blocked here, Kea's signals stay with Kea's main
/// thread, whose select() they interrupt.
class SignalsBlocked {
  public:
    SignalsBlocked() {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;

  private:
    sigset_t before_;
};

}  // namespace subnet_deleg

#endif  // SUBNET_DELEG_SIGNALS_H
