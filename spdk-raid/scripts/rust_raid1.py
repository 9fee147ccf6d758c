"""Commands of rpc.py for the RAID1: `PYTHONPATH=spdk-raid/scripts spdk-rpc --plugin rust_raid1 bdev_rust_raid1_create ...`

Names and options are those of `bdev_raid_*` where it has them.
"""

from spdk.rpc.cmd_parser import print_json

PREFIX = 'bdev_rust_raid1_'


def spdk_rpc_plugin_initialize(subparsers):
    def command(name, help):
        """A command that calls the method of its name with what was given."""
        p = subparsers.add_parser(PREFIX + name, help=help)

        def call(args):
            known = {action.dest for action in p._actions} - {'help'}
            params = {key: value for key, value in vars(args).items() if key in known and value is not None}
            if 'base_bdevs' in params:
                names = params['base_bdevs'].split()
                params['base_bdevs'] = [None if name == '-' else name for name in names]
            print_json(args.client.call(PREFIX + name, params))

        p.set_defaults(func=call)
        return p

    def add_options(p):
        p.add_argument('--read-policy', help='Which base a read goes to',
                       choices=['least-loaded', 'round-robin', 'primary'])
        p.add_argument('-w', '--process-window-size-kb', type=int,
                       help='How much a rebuild or a scrub does at a time, in KiB')
        p.add_argument('-b', '--process-max-bandwidth-mb-sec', type=int,
                       help='How much a rebuild or a scrub moves in a second at most, in MiB; 0 is no limit')
        p.add_argument('--process-share-percent', type=int,
                       help='How much of the time a rebuild or a scrub takes while users have I/O, 1 to 100')
        p.add_argument('--io-timeout-sec', type=int,
                       help='How long a base may take for an I/O before it is faulted, in seconds; 0 is for ever')
        p.add_argument('--slow-io-sec', type=int,
                       help='How long a base may take for an I/O before it is said to be slow; 0 is for ever')

    p = command('create', 'Create a RAID1; bases that are not there yet are waited for')
    p.add_argument('-n', '--name', help='Name of the array', required=True)
    p.add_argument('-b', '--base-bdevs', required=True,
                   help='Bases, a whitespace separated list in quotes; - is a place for one that there is not')
    p.add_argument('-r', '--raid-level', help='raid1, or left out')
    p.add_argument('-z', '--strip-size-kb', type=int, help='0, or left out')
    p.add_argument('--uuid', help='UUID of the array')
    p.add_argument('-s', '--superblock', action='store_const', const=True, help='There is none yet: an error')
    p.add_argument('--resync', action='store_const', const=True,
                   help='Make the bases equal as the first one is, in the background')
    p.add_argument('--degraded', action='store_const', const=True, help='Start with the bases that are there now')
    p.add_argument('--read-policy', help='Which base a read goes to',
                   choices=['least-loaded', 'round-robin', 'primary'])
    p.add_argument('--process-window-size-kb', type=int, help='See bdev_rust_raid1_set_options')
    p.add_argument('--process-max-bandwidth-mb-sec', type=int, help='See bdev_rust_raid1_set_options')
    p.add_argument('--process-share-percent', type=int, help='See bdev_rust_raid1_set_options')
    p.add_argument('--io-timeout-sec', type=int, help='See bdev_rust_raid1_set_options')
    p.add_argument('--slow-io-sec', type=int, help='See bdev_rust_raid1_set_options')

    p = command('delete', 'Delete a RAID1')
    p.add_argument('name', help='Name of the array')

    p.add_argument('-c', '--clear-sb', action='store_const', const=True, help='There is none to clear')

    p = command('get_bdevs', 'Show RAID1s')
    p.add_argument('category', nargs='?', choices=['all', 'online', 'configuring', 'offline'],
                   help='Which; all if it is left out')
    p.add_argument('-n', '--name', help='Only the one of this name')

    p = command('get_iostat', 'Show what RAID1s, and SPDK of their bases, have counted')
    p.add_argument('name', nargs='?', help='Name of the array; all if it is left out')

    p = command('set_options', 'Set options of a RAID1, or those of all that are created later')
    p.add_argument('-n', '--name', help='Of which array; without one, of those that are created later')
    add_options(p)

    p = command('add_base_bdev', 'Add a base to a RAID1, and begin to fill it')
    p.add_argument('raid_bdev', help='Name of the array')
    p.add_argument('base_bdev', help='Name of the bdev')

    p = command('remove_base_bdev', 'Take a base away from its RAID1')
    p.add_argument('name', help='Name of the base')
    p.add_argument('--raid-bdev', help='Name of the array, if several remember the base')

    p = command('replace_base_bdev', 'Put a base in the place of another, and begin to fill it')
    p.add_argument('raid_bdev', help='Name of the array')
    p.add_argument('old_base_bdev', help='Name of the base that goes')
    p.add_argument('base_bdev', help='Name of the base that comes')

    p = command('scrub', 'Begin to compare the bases of a RAID1')
    p.add_argument('name', help='Name of the array')
    p.add_argument('--repair', action='store_const', const=True, help='Make equal what differs')

    for name, what in [('pause_process', 'Have a rebuild, a scrub or a resync wait'),
                       ('resume_process', 'Have a rebuild, a scrub or a resync that was paused go on'),
                       ('abort_process', 'End a rebuild, a scrub or a resync')]:
        p = command(name, what)
        p.add_argument('name', help='Name of the array')
        p.add_argument('-t', '--type', choices=['rebuild', 'scrub', 'resync'], help='Which; all if it is left out')
        p.add_argument('--target', help='The rebuild of this base')

    p = command('reset_counters', 'Have the counters of a RAID1 begin at 0')
    p.add_argument('name', nargs='?', help='Name of the array; all if it is left out')
