/* Locked ranges of blocks: quiesced ones, and those of a compare-and-write that the device can't do. */
#ifndef SPDK_SHIM_LOCK_H
#define SPDK_SHIM_LOCK_H

#include <spdk/stdinc.h>

/*
 * Whether SPDK, while it waits for I/O in what is to be locked, keeps the channel which that is on (25.09 and newer);
 * before, a poller of 100 us looks at it once more, gone or not. In the same versions the end of a lock goes on with an
 * unregistration that has begun, also one that goes on by itself.
 */
bool spdk_shim_lock_keeps_channels(void);

#endif
