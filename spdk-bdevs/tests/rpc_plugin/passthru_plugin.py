"""Commands of rpc.py for the pass-through: `spdk-rpc --plugin passthru_plugin bdev_rust_passthru_create ...`"""

from spdk.rpc.cmd_parser import print_json


def spdk_rpc_plugin_initialize(subparsers):
    def create(args):
        params = {'name': args.name, 'base_bdev_name': args.base_bdev_name}
        if args.uuid is not None:
            params['uuid'] = args.uuid
        print_json(args.client.call('bdev_rust_passthru_create', params))

    p = subparsers.add_parser('bdev_rust_passthru_create', help='Add a pass through bdev on existing bdev')
    p.add_argument('-b', '--base-bdev-name', help='Name of the existing bdev', required=True)
    p.add_argument('-p', '--name', help='Name of the pass through bdev', required=True)
    p.add_argument('-u', '--uuid', help='UUID of the bdev')
    p.set_defaults(func=create)

    def delete(args):
        print_json(args.client.call('bdev_rust_passthru_delete', {'name': args.name}))

    p = subparsers.add_parser('bdev_rust_passthru_delete', help='Delete a pass through bdev')
    p.add_argument('name', help='Name of the pass through bdev')
    p.set_defaults(func=delete)
