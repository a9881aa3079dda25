#!/bin/bash
# Annoying how this has be done, but
# in bash land it's tricky. We just
# generate two files and do a zip with
# paste.
f1=$(mktemp)
f2=$(mktemp)
kith get openstack.ips | tr ' ' '\n' >$f1
kith members openstack.api -limit 3 >$f2
trap "rm -f $f1 $f2" EXIT

# Make sure we've got the correct IP
# associate (do a linear mapping from
# the membership list).
paste $f1 $f2 | (while read IP API; do
    if [ "$API" = "*" ]; then
        associate.sh $IP
    else
        disassociate.sh $IP
    fi
done)

# Ensure the API server is running.
service nova-api start
