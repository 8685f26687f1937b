from segrid.cli import main

main()
