{
  # CPU only, for machines without CMake. The same sources and flags as CMakeLists.txt.
  'variables': { 'werror%': 0, 'optimise%': '-O2' },
  'targets': [{
    'target_name': 'surprisal',
    'sources': ['<!@(node scripts/sources.mjs)'],
    'include_dirs': ['native', '<!(node -p "require(\'node-addon-api\').include_dir")'],
    'defines': [
      'NAPI_VERSION=9',
      'NODE_ADDON_API_CPP_EXCEPTIONS_ALL',
      'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
      'NODE_API_NO_EXTERNAL_BUFFERS_ALLOWED',
    ],
    # What node-gyp brings along. Its standard differs between Node's versions.
    'cflags!': ['-O3', '-fno-omit-frame-pointer', '-Wno-unused-parameter'],
    'cflags_cc!': [
      '-fno-exceptions', '-fno-rtti', '-std=gnu++17', '-std=gnu++20', '-std=gnu++23',
    ],
    'cflags_cc': [
      '-std=c++17', '<(optimise)', '-ffp-contract=off', '-fvisibility=hidden', '-Wall', '-Wextra',
    ],
    'libraries': ['-pthread'],
    'conditions': [
      ['werror==1', { 'cflags_cc': ['-Werror'] }],
      # Its threads outlive the worker that loaded it, with which Node would unload it.
      ['OS!="mac" and OS!="win"', { 'ldflags': ['-Wl,-z,nodelete'] }],
      ['OS=="mac"', {
        'xcode_settings': {
          'CLANG_CXX_LANGUAGE_STANDARD': 'c++17',
          'GCC_ENABLE_CPP_EXCEPTIONS': 'YES',
          'GCC_ENABLE_CPP_RTTI': 'YES',
          'GCC_OPTIMIZATION_LEVEL': '2',
          'GCC_SYMBOLS_PRIVATE_EXTERN': 'YES',
          'OTHER_CPLUSPLUSFLAGS': ['-ffp-contract=off', '-Wall', '-Wextra'],
        },
      }],
    ],
  }],
}
