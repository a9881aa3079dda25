exec kith run mysql -count 3 -start start-mysql.sh -stop stop-mysql.sh
