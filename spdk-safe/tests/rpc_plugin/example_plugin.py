"""Commands of rpc.py for the methods in tests/rpc_py.rs: `spdk-rpc --plugin example_plugin example_create ...`"""

from spdk.rpc.cmd_parser import print_json


def spdk_rpc_plugin_initialize(subparsers):
    def example_create(args):
        params = {'name': args.name, 'num_blocks': args.num_blocks}
        if args.block_size is not None:
            params['block_size'] = args.block_size
        print_json(args.client.call('example_create', params))

    p = subparsers.add_parser('example_create', help='Create an example bdev')
    p.add_argument('name', help='Name of the bdev')
    p.add_argument('num_blocks', help='Number of blocks', type=int)
    p.add_argument('-b', '--block-size', help='Block size', type=int)
    p.set_defaults(func=example_create)

    def example_delete(args):
        print_json(args.client.call('example_delete', {'name': args.name}))

    p = subparsers.add_parser('example_delete', help='Delete an example bdev')
    p.add_argument('name', help='Name of the bdev')
    p.set_defaults(func=example_delete)
