# Load the config which will stay synchronized.
cat /etc/nova/nova.conf | kith set openstack.config

# Create the set of IPs that we will associate with API nodes.
echo 10.1.1.1 10.1.1.2 10.1.1.3 | kith set openstack.ips
