from advertisex.cli import main

main()
