#!/bin/bash
MASTER=$(kith members mysql -limit 1)
if [ "$MASTER" = "*" ]; then
    # Looks like we're the master.
    associate-mysql-master-ips.sh
    start-mysql-master.sh
else
    # Looks like we're a slave (2-3).
    remove-mysql-master-ips.sh
    start-mysql-slave.sh $MASTER
fi
