# Text chat needs neither llama.cpp's command-line helpers nor its HTTP client: most of the compile
# time. The cache entry of the same name is forced on, so a normal variable has to hide it.
set(LLAMA_BUILD_COMMON OFF)
