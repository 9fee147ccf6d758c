/* Which SPDK this is compiled against. */
#ifndef SPDK_SHIM_VERSION_H
#define SPDK_SHIM_VERSION_H

#include <spdk/stdinc.h>
#include <spdk/version.h>

#define SINCE(major, minor) (SPDK_VERSION >= SPDK_VERSION_NUM(major, minor, 0))

/*
 * A size on which we rely, at the newest supported version. A build that fails there meets an SPDK that calls
 * itself 26.05 and is not. (spdk-contract 7.3)
 */
#if SPDK_VERSION_MAJOR == 26 && SPDK_VERSION_MINOR == 5 && defined(__x86_64__)
#define SIZE_IS(type, n) _Static_assert(sizeof(type) == (n), "unexpected size of " #type)
#else
#define SIZE_IS(type, n) _Static_assert(1, "")
#endif

#endif
