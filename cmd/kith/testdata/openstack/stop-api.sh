#!/bin/bash
# Disassociate all IPs in the pool.
for IP in $(kith get openstack.ips); do
    disassociate.sh $IP
done
# No need to run the API service.
service nova-api stop
