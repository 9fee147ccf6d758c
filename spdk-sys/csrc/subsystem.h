/* A subsystem of ours among SPDK's: hears of the start of the framework and of its end, also in a C application. */
#ifndef SPDK_SHIM_SUBSYSTEM_H
#define SPDK_SHIM_SUBSYSTEM_H

#include <spdk/stdinc.h>

/*
 * Adds the subsystem "spdk_safe", which stands on "bdev"; once, before the framework starts. `init` runs on the app
 * thread when bdevs are up, `fini` before they are taken down; SPDK goes on when `fini`'s work is answered with
 * spdk_shim_subsystem_fini_done().
 */
void spdk_shim_subsystem_add(void (*init)(void), void (*fini)(void));
void spdk_shim_subsystem_fini_done(void);

/*
 * Whether the framework has begun to start its subsystems. An app that waits for framework_start_init has not, and can
 * be stopped at once; in between it can't (spdk_subsystem_fini() takes down what is half up).
 */
bool spdk_shim_subsystems_began(void);

#endif
