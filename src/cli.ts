process.stderr.write('singlepoll: not yet\n');
